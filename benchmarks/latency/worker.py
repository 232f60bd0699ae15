"""One process that measures one backend: a request in (JSON, `python -m benchmarks.latency.worker REQUEST`), lines out.

Kernels, memory layout and clocks are chosen once a process, so a measurement takes several. Lines of JSON go to
`request.out` as they are known, so that what was measured before a process died is kept:

    {"facts": {...}}                                  device and conditions, once the student is loaded
    {"begin": [batch, stage]}                         then one of the two:
    {"batch", "stage", "samples_ms", ...}             samples, and what was seen of the machine
    {"batch", "stage", "reason"}                      why there are none
    {"examined": {...}}                               instead of samples, where the request asks for it
    {"note": "..."}                                   what the backend has to say at the end
    {"failed": "...", "kind": "unavailable"|"input"|"error"}    nothing more comes
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import backends
from benchmarks.latency import stages
from benchmarks.latency.timing import Rule, take
from benchmarks.machine import cpu as device
from benchmarks.machine import gpu, peak_memory
from c2d.core.errors import InputError, first_line

if TYPE_CHECKING:
    from benchmarks.latency.student import Subject


@dataclass(frozen=True)
class Request:
    """What one process is asked for; paths as text.

    size: (height, width) or None. images: "real" or "random", `count` of them. examine: look at the artefact instead of
    timing it. ap: AP in 0-1 that these weights are known to have, eager and at the config's own size. data: what
    replaces entries of the config's test data set, where that has moved.
    """

    config: str
    checkpoint: str
    backend: str
    out: str
    workspace: str
    device: str = "cpu"
    size: tuple[int, int] | None = None
    batches: tuple[int, ...] = (1,)
    stages: tuple[str, ...] = stages.STAGES
    images: str = "real"
    count: int = 16
    interval_ms: float | None = None
    threads: int | None = None
    examine: bool = False
    ap: float | None = None
    data: dict[str, Any] | None = None
    rule: Rule = field(default_factory=Rule)

    def dump(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def parse(text: str) -> Request:
        given = json.loads(text)
        size = given["size"]
        lists = {"batches": tuple(given["batches"]), "stages": tuple(given["stages"])}
        return Request(**{**given, **lists, "size": tuple(size) if size else None, "rule": Rule(**given["rule"])})


Say = Callable[[dict[str, Any]], None]


def serve(request: Request, say: Say) -> None:
    """All of one process's work; it ends with `failed` rather than an exception where anything goes wrong."""
    try:
        base = packages(request)
        subject = start(request)
        paths = images(subject, request)
        call = backends.prepare(request.backend, subject)
        say({"facts": facts(subject, request, call)})
        if request.examine:
            from benchmarks.latency.artifact_checks import examine

            # what random images are timed on must hold on real ones, where there are any
            with contextlib.suppress(InputError):
                paths = subject.images(request.count)
            say({"examined": examine(subject, request.backend, call, paths, request.ap)})
        else:
            measure(subject, call, request, paths, say, base)
            say({"note": call.note()})
    except backends.Unavailable as reason:
        say({"failed": first_line(reason), "kind": "unavailable"})
    except InputError as error:
        say({"failed": str(error), "kind": "input"})
    except Exception as error:
        say({"failed": f"{type(error).__name__}: {first_line(error)}", "kind": "error"})
        raise


def packages(request: Request) -> float:
    """Import what a student needs; what this process holds then, MiB."""
    from benchmarks.latency.student import register

    register()
    return peak_memory.base_mib(request.device)


def start(request: Request) -> Subject:
    """The student, with the number of threads that was asked for."""
    import cv2
    import torch

    from benchmarks.latency.student import load

    if request.threads:
        torch.set_num_threads(request.threads)
        cv2.setNumThreads(request.threads)
    workspace = Path(request.workspace)
    return load(Path(request.config), Path(request.checkpoint), request.device, request.size, workspace, request.data)


def images(subject: Subject, request: Request) -> list[Path]:
    """The files to time, real ones unless random ones were asked for by name."""
    if request.images == "random":
        return stages.random_images(subject.workspace / "random", subject.size, request.count)
    return subject.images(request.count)


def facts(subject: Subject, request: Request, call: backends.Prepared) -> dict[str, Any]:
    """What holds for every sample of this process: device (name), machine, conditions, sha256 of the artefact."""
    import torch

    known = device.machine()
    name, notes = known["cpu"], [told] if (told := peak_memory.caveat(str(subject.device))) else []
    if subject.device.type == "cuda":
        name = torch.cuda.get_device_name(subject.device)
        found = gpu.find(subject.device.index or 0)
        notes += [found] if isinstance(found, str) else []
        known |= {"gpu": name, **({} if isinstance(found, str) else found.machine())}
    if known["governor"] not in (None, "performance"):
        notes.append(f"the CPU's governor is {known['governor']}: clocks follow the load")
    mode = "closed loop" if request.interval_ms is None else f"single stream every {request.interval_ms:g} ms"
    return {
        "device": name,
        "machine": known,
        "notes": notes,
        "sha256": call.sha256,
        "nms": subject.network.nms,
        "resized": subject.resized,
        "padded": subject.padded,
        "conditions": {
            "backend": request.backend,
            "precision": backends.find(request.backend).precision,
            "input": f"{subject.size[0]}x{subject.size[1]}",
            "images": request.images,
            "score_threshold": subject.score_threshold,
            "mode": mode,
            "threads": torch.get_num_threads(),
            "cores": known["cores"],
            **call.conditions,
        },
    }


def measure(
    subject: Subject, call: backends.Prepared, request: Request, paths: list[Path], say: Say, base_mib: float = 0.0
) -> None:
    """Every batch size and stage, small batches first; after one that does not fit, larger ones are not tried."""
    full: str | None = None
    for batch in sorted(request.batches):
        for stage in request.stages:
            say({"begin": [batch, stage]})
            here = {"batch": batch, "stage": stage}
            if full:
                say({**here, "reason": full, "memory": True})
                continue
            try:
                say({**here, **_samples(subject, call, request, batch, stage, paths, base_mib)})
            except stages.Nothing as nothing:
                say({**here, "reason": str(nothing), "nothing": True})
            except Exception as error:
                if not peak_memory.short_of_memory(error):
                    say({**here, "reason": f"{type(error).__name__}: {first_line(error)}"})
                    continue
                full = f"batch {batch} does not fit in memory ({first_line(error)[:160]})"
                say({**here, "reason": full, "memory": True})
                peak_memory.let_go(str(subject.device))


def _samples(
    subject: Subject,
    call: backends.Prepared,
    request: Request,
    batch: int,
    stage: str,
    paths: list[Path],
    base_mib: float,
) -> dict[str, Any]:
    clock_name, clock = stages.clock_of(stage, subject.device.type)
    work = stages.call_of(subject, call, stage, batch, paths)
    card = gpu.find(subject.device.index or 0) if subject.device.type == "cuda" else "none"
    work()  # what is compiled at the first call is no memory of the calls that are timed
    peak_memory.forget(str(subject.device))
    before, gpu_before = device.look(), card.look() if isinstance(card, gpu.Gpu) else None
    taken = take(work, request.rule, clock, request.interval_ms)
    gpu_after, after = card.look() if isinstance(card, gpu.Gpu) else None, device.look()
    held = peak_memory.peak_mib(str(subject.device), base_mib)
    reasons = [device.disturbed(before, after)]
    seen = {"before": before.facts, "after": after.facts}
    if gpu_before and gpu_after:
        reasons.append(gpu.disturbed(gpu_before, gpu_after))
        seen = {"before": {**seen["before"], **gpu_before.facts}, "after": {**seen["after"], **gpu_after.facts}}
    if not taken.steady:
        reasons.append(f"it never became steady in {len(taken.warm_up_ms)} calls of warm-up")
    return {
        "clock": clock_name,
        "nms": stages.nms_of(stage, subject.network.nms),
        "samples_ms": taken.samples_ms,
        "warm_up_ms": taken.warm_up_ms,
        "missed_intervals": taken.missed,
        "peak_mib": round(held, 1) if stage in stages.WITH_MODEL else None,
        "seen": seen,
        "disturbed": "; ".join(filter(None, reasons)) or None,
    }


def main(text: str) -> int:
    request = Request.parse(text)
    with open(request.out, "a", encoding="utf-8") as stream:

        def say(line: dict[str, Any]) -> None:
            stream.write(json.dumps(line) + "\n")
            stream.flush()

        serve(request, say)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
