"""A run folder as a training writes it, without a training: spec, environment, status, events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from c2d.core.curves.event_file import append_event, drop_events_after
from c2d.core.run_folder import RunFolder, atomic_write_json
from c2d.core.store_folder import RunStore
from c2d.tracking.tracker_option import parse_trackers
from c2d.tracking.tracker_thread import TrackerThread
from c2d.tracking.tracking import make_tracker

ID = "net-icod-0123456789ab-s3"
SPEC = {
    "format": 1,
    "kind": "detector",
    "dataset": {"name": "scenes", "digest": "ab"},
    "student": {"name": "net", "digest": "cd"},
    "method": [{"icod": {"T": 2, "layers": ["crop", "l0"]}}],
    "schedule": {"name": "smoke", "values": {"iterations": 6, "optimizer": {"lr": 0.01}}},
    "seed": 3,
}
RESULT = {
    "format": 1,
    "kind": "detector",
    "AP": 0.25,
    "AP50": 0.5,
    "APs": None,
    "tide": {"dAP": {"Cls": 0.125}},
    "protocols": {"voc": {"AP50_voc": 0.75}},
    "per_class": {"cat": {"AP": 0.25, "boxes": 4}, "a|b": {"AP": None, "boxes": 0}},
    "seconds": {"train": 8.0},
}


def new_run(store: Path, name: str = ID) -> RunFolder:
    """A folder with its spec and the environment of its first attempt."""
    folder = RunFolder(store / name)
    atomic_write_json(folder.spec, SPEC)
    begin_attempt(folder, "70")
    return folder


def begin_attempt(folder: RunFolder, job: str, restarts: str = "0") -> None:
    """What `c2d.core.attempt` writes when an attempt begins, in a job of SLURM."""
    from c2d.core.run_folder import read_json

    earlier = read_json(folder.env)["attempts"] if folder.env.exists() else []
    slurm = {"SLURM_JOB_ID": job, "SLURM_RESTART_COUNT": restarts}
    facts = {"c2d": "1", "git": {"sha": "f" * 40, "dirty": True}, "machine": {"host": "n1"}, "slurm": slurm}
    atomic_write_json(folder.env, {"format": 1, "attempts": [*earlier, {"attempt": len(earlier) + 1, **facts}]})
    folder.write_status("running", attempt=len(earlier) + 1)


def train_event(iteration: int) -> dict[str, Any]:
    return {
        "event": "train", "iteration": iteration, "time": 1000.0 + iteration, "step_s": 0.5, "lr": 0.01,
        "memory_mib": 9.0, "loss": float(iteration), "loss_cls": 1.0, "loss_kd_icod_cls": 0.5, "kd_icod_cls_raw": 1.25,
    }  # fmt: skip


def end_run(folder: RunFolder, state: str, **facts: Any) -> None:
    if state == "done":
        atomic_write_json(folder.result, RESULT)
    folder.write_status(state, iteration=6, iterations=6, **facts)


def track(
    folder: RunFolder, tracker: str, start: int, iterations: range, state: str, kill: bool = False, **facts: Any
) -> str:
    """One attempt that continues after `start` and logs `iterations`; `kill` ends it as SIGKILL would.

    Returns:
        What the thread reports as lost.
    """
    (option,) = parse_trackers([tracker])
    warnings: list[str] = []
    made = make_tracker(option, RunStore(folder.path.parent))
    thread = TrackerThread(made, option.name, folder, warnings.append, batch_s=0.01)
    drop_events_after(folder.metrics, start)
    thread.send_history(start)
    for iteration in iterations:
        events = [train_event(iteration)]
        if iteration % 2 == 0 and iteration < 6:
            events.append({"event": "val", "iteration": iteration, "AP": iteration / 10, "AP50": None})
        for event in events:
            append_event(folder.metrics, event)
            thread.put(event)
    if kill:  # what has been sent is there, and nothing is said about the end
        made.finish = lambda outcome: made.abandon()  # type: ignore[method-assign]
    else:
        end_run(folder, state, **facts)
    thread.end()
    lost = thread.join(30.0)
    assert not warnings, warnings
    return lost
