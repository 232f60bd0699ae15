"""Part `planted`: files that somebody places into a run folder between two attempts, or into its teacher's.

Every case begins with a copy of a training that stopped after four of six iterations. Then the file is placed and the
training, or the evaluation, continues. Right is an end within a limit, with the numbers of the undisturbed run or with
one line, and nothing executed: payloads would create a file.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import signal
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from c2d.core.run_folder import RunFolder, read_json
from c2d.core.store_folder import RunStore
from tests.c2d.conftest import TinyStore
from tests.trust.forks import Ended, start_command, wait
from tests.trust.killed_training import SCHEDULE, TEACHER, differences, import_everything, make_tiny_store
from tests.trust.part import Outcome, Row, measure

LIMIT_S = 60


class Placed(NamedTuple):
    """One case.

    Attributes:
        name: what is placed.
        place: called with the run, its teacher and the path that a payload would create.
        wanted: "continues" to the undisturbed result ("curve lost": but for metrics.jsonl), "one line" with exit code 1
            or 2, or "either".
        command: train, or evaluate, which begins with a finished run.
    """

    name: str
    place: Callable[[RunFolder, RunFolder, Path], object]
    wanted: str
    command: str = "train"


class Payload:
    """Unpickled, it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def rows(scratch: Path) -> Iterator[Row]:
    """One row a case."""
    import_everything()
    yield from place_all(scratch, CASES)


def place_all(scratch: Path, cases: tuple[Placed, ...]) -> Iterator[Row]:
    """Train the base of all cases, then one row a case."""
    base = Base(make_tiny_store(scratch / "store"), scratch)
    for number, case in enumerate(cases):
        yield measure("planted", case.name, EXPECTED[case.wanted], lambda c=case, n=number: base.outcome(c, n))  # type: ignore[misc]


EXPECTED = {
    "continues": "continues, equal to the undisturbed run; nothing executed",
    "one line": "one line, exit code 1 or 2; nothing executed",
    "curve lost": "continues, equal but for the curve that was lost; nothing executed",
    "either": "continues equally, or one line; nothing executed",
}


class Base:
    """A teacher, a student that is finished, and the same student stopped after four iterations."""

    def __init__(self, store: TinyStore, scratch: Path) -> None:
        self.store, self.scratch = store, scratch
        self.teacher = store.create_run(network="resnet18", schedule=TEACHER, input=32)
        self._call(store, self.teacher)
        question: dict[str, Any] = {
            "method": [{"icod": {"max_positives": 8}}],
            "teachers": {"classifier": self.teacher.id},
        }
        whole = store.with_empty_store(scratch / "whole")
        shutil.copytree(store.runs, whole.runs)
        self.whole = whole.create_run(schedule=SCHEDULE, **question)
        self._call(whole, self.whole)
        self.part = store.create_run(schedule=SCHEDULE, **question)
        self._call(store, self.part, "--stop-after", "4")

    def _call(self, store: TinyStore, run: RunFolder, *more: str) -> None:
        ended = self.run_command(store, ["train", str(run.path), "--checkpoint-every", "2", *more])
        assert ended.code == 0, ended.output

    def run_command(self, store: TinyStore, words: list[str]) -> Ended:
        """Run a command on a store; it is killed after LIMIT_S seconds."""
        output = self.scratch / "output"
        options = ["--runs", str(store.runs), "--data", str(store.data), "--workers", "0"]
        quiet = ["--quiet"] if words[0] == "train" else []
        return wait(start_command([*words, *options, *quiet], output, lambda: _limit(LIMIT_S)), output)

    def outcome(self, case: Placed, number: int) -> Outcome:
        """Copy the store, place the file, run the command, judge its end."""
        place = self.scratch / f"case{number}"
        store = self.store.with_empty_store(place)
        source = self.store.runs if case.command == "train" else self.whole.path.parent
        shutil.copytree(source, store.runs)
        run, teacher = RunFolder(store.runs / self.part.id), RunFolder(store.runs / self.teacher.id)
        canary = place / "executed"
        case.place(run, teacher, canary)
        begun = time.monotonic()
        ended = self.run_command(store, [case.command, str(run.path)])
        wrong = self._wrong(case, run, ended, time.monotonic() - begun)
        if canary.exists():
            wrong.insert(0, "THE PAYLOAD WAS EXECUTED")
        seen = "continued, equal" if ended.code == 0 else f"exit code {ended.code}: {_shown(ended, place)}"
        if not wrong:
            shutil.rmtree(place, ignore_errors=True)
        return not wrong, "; ".join([*wrong, seen])

    def _wrong(self, case: Placed, run: RunFolder, ended: Ended, seconds: float) -> list[str]:
        wrong = []
        if ended.code == -signal.SIGALRM:
            wrong.append(f"did not end within {LIMIT_S} s")
        elif "Traceback" in ended.output:
            wrong.append("a traceback")
        elif ended.code not in (0, 1, 2):
            wrong.append(f"exit code {ended.code}")
        elif ended.code == 0 and case.wanted == "one line":
            wrong.append("was not noticed")
        elif ended.code and case.wanted in ("continues", "curve lost"):
            wrong.append("did not continue")
        elif ended.code == 0:
            lost = ["metrics.jsonl"] if case.wanted == "curve lost" else []
            wrong += [f"{item} differs" for item in differences(run, self.whole) if item not in lost]
        elif sum(line.startswith("error: ") for line in ended.output.splitlines()) != 1:
            wrong.append("not one line of error")
        return wrong


def _limit(seconds: int) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(seconds)


def _shown(ended: Ended, place: Path) -> str:
    """The last line of a command, without the paths of this machine."""
    return ended.last_line.replace(f"{place}/", "").removeprefix("error: ")[:160]


# What is placed


def _pickle(path: Path, canary: Path) -> None:
    path.write_bytes(pickle.dumps({"format": 1, "model": Payload(canary)}))


def _torch_zip(path: Path, canary: Path, key: str = "model") -> None:
    """A file as torch.save writes it, with a payload beside the tensors."""
    import torch

    buffer = io.BytesIO()
    torch.save({"format": 1, "iteration": 6, key: Payload(canary)}, buffer)
    path.write_bytes(buffer.getvalue())


def _change_checkpoint(run: RunFolder, change: Callable[[dict[str, Any]], object]) -> None:
    import torch

    newest = run.checkpoint(4)
    state = torch.load(newest, weights_only=True)
    change(state)
    torch.save(state, newest)


def _change_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = read_json(path)
    change(value)
    path.write_text(json.dumps(value))


def _pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def _folder(path: Path) -> None:
    with suppress(FileNotFoundError):
        path.unlink()
    path.mkdir()


def _link(path: Path, target: str) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def _code(path: Path, canary: Path) -> None:
    path.write_text(f"import os\nos.mkdir({str(canary)!r})\nmodel = dict(type='RetinaNet')\n")


def _bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 300_000_000)


def _student_code(run: RunFolder, canary: Path) -> None:
    for path in RunStore(run.path.parent).student_config("x").parent.glob("*.py"):
        _code(path, canary)


STATUSES: dict[str, str] = {
    "no JSON": "{",
    "a list": "[]",
    "a number": "1e400",
    "no text": "\x00\xff",
    "without a state": "{}",
    "of an unknown state": '{"state": "sleeping"}',
    "with text as the attempt": '{"state": "waiting", "attempt": "x"}',
    "with a list as elapsed_s": '{"state": "waiting", "attempt": 1, "elapsed_s": []}',
    "with a state that is a list": '{"state": ["done"]}',
    "100,000 deep": "[" * 100_000 + "]" * 100_000,
    "done, without a result": '{"state": "done"}',
    "running, of pid 2^80": '{"state": "running", "pid": 1208925819614629174706176, "heartbeat": "2026-01-01"}',
    "running, of the year 9999": '{"state": "running", "pid": 1, "host": "x", "heartbeat": "9999-12-31T23:59:59"}',
}
CASES: tuple[Placed, ...] = (
    Placed("checkpoint: a pickle that calls a function", lambda r, t, c: _pickle(r.checkpoint(6), c), "one line"),
    Placed("checkpoint: a torch file that calls one", lambda r, t, c: _torch_zip(r.checkpoint(6), c), "one line"),
    Placed("checkpoint: the same behind a valid key", lambda r, t, c: _torch_zip(r.checkpoint(6), c, "x"), "one line"),
    Placed("checkpoint: 300 MB of zeros in 300 kB", lambda r, t, c: _bomb(r.checkpoint(6)), "either"),
    Placed("checkpoint: cut in half", lambda r, t, c: os.truncate(r.checkpoint(4), 20_000), "continues"),
    Placed("checkpoint: empty", lambda r, t, c: os.truncate(r.checkpoint(4), 0), "continues"),
    Placed("checkpoint: a folder", lambda r, t, c: _folder(r.checkpoint(6)), "either"),
    Placed("checkpoint: a pipe", lambda r, t, c: _pipe(r.checkpoint(6)), "either"),
    Placed("checkpoint: a link to /dev/zero", lambda r, t, c: _link(r.checkpoint(6), "/dev/zero"), "either"),
    Placed("checkpoint: of another run",
           lambda r, t, c: _change_checkpoint(r, lambda s: s.update(run="another")), "one line"),
    Placed("checkpoint: without its model",
           lambda r, t, c: _change_checkpoint(r, lambda s: s.pop("model")), "one line"),
    Placed("checkpoint: without its optimizer",
           lambda r, t, c: _change_checkpoint(r, lambda s: s.pop("optimizer")), "one line"),
    Placed("checkpoint: without its run", lambda r, t, c: _change_checkpoint(r, lambda s: s.pop("run")), "one line"),
    Placed("checkpoint: a weight is missing",
           lambda r, t, c: _change_checkpoint(r, lambda s: s["model"].popitem()), "one line"),
    Placed("checkpoint: iteration is text",
           lambda r, t, c: _change_checkpoint(r, lambda s: s.update(iteration="four")), "one line"),
    Placed("checkpoint: iteration is -1",
           lambda r, t, c: _change_checkpoint(r, lambda s: s.update(iteration=-1)), "one line"),
    Placed("checkpoint: iteration is 10^9",
           lambda r, t, c: _change_checkpoint(r, lambda s: s.update(iteration=10**9)), "one line"),
    Placed("checkpoint: schedulers are a number",
           lambda r, t, c: _change_checkpoint(r, lambda s: s.update(schedulers=3)), "one line"),
    Placed("checkpoint: the EMA is missing",
           lambda r, t, c: _change_checkpoint(r, lambda s: s.update(average=None)), "one line"),
    Placed("teacher: its weights are a pickle that calls a function",
           lambda r, t, c: _pickle(t.classifier, c), "one line"),
    Placed("teacher: its weights are a torch file that calls one",
           lambda r, t, c: _torch_zip(t.classifier, c), "one line"),
    Placed("teacher: result.json is a list", lambda r, t, c: t.result.write_text("[]"), "one line"),
    Placed("teacher: result.json without numbers", lambda r, t, c: t.result.write_text("{}"), "one line"),
    Placed("teacher: spec.json is a list", lambda r, t, c: t.spec.write_text("[]"), "one line"),
    Placed("teacher: config.py is code", lambda r, t, c: _code(t.config, c), "either"),
    Placed("teacher: status.json is a list", lambda r, t, c: t.status.write_text("[]"), "one line"),
    *(Placed(f"status.json: {name}",
             lambda r, t, c, text=text: r.status.write_bytes(text.encode("latin-1")), "either")  # type: ignore[misc]
      for name, text in STATUSES.items()),
    Placed("status.json: a pipe", lambda r, t, c: _pipe(r.status), "either"),
    Placed("status.json: a folder", lambda r, t, c: _folder(r.status), "either"),
    Placed("status.json: a link to /dev/zero", lambda r, t, c: _link(r.status, "/dev/zero"), "either"),
    Placed("env.json: a list", lambda r, t, c: r.env.write_text("[]"), "either"),
    Placed("env.json: cut", lambda r, t, c: r.env.write_text('{"attempts": ['), "either"),
    Placed("metrics.jsonl: no text", lambda r, t, c: r.metrics.write_bytes(b"\xff\xfe\n{"), "curve lost"),
    Placed("metrics.jsonl: lines that are lists", lambda r, t, c: r.metrics.write_text("[]\n3\n{}\n"), "curve lost"),
    Placed("metrics.jsonl: a folder", lambda r, t, c: _folder(r.metrics), "either"),
    Placed("spec.json: a list", lambda r, t, c: r.spec.write_text("[]"), "one line"),
    Placed("spec.json: another seed",
           lambda r, t, c: _change_json(r.spec, lambda s: s.update(seed=7)), "one line"),
    Placed("config.py: code", lambda r, t, c: _code(r.config, c), "one line"),
    Placed("train_config.py: code", lambda r, t, c: _code(r.train_config, c), "continues"),
    Placed("student of the store: code", lambda r, t, c: _student_code(r, c), "one line"),
    Placed("log.txt: a folder", lambda r, t, c: _folder(r.log), "one line"),
    Placed("lock: a folder", lambda r, t, c: _folder(r.lock), "one line"),
    Placed("evaluate: config.py is code", lambda r, t, c: _code(r.config, c), "either", "evaluate"),
    Placed("evaluate: student.pth calls a function", lambda r, t, c: _torch_zip(r.student, c), "one line", "evaluate"),
    Placed("evaluate: result.json is a list", lambda r, t, c: r.result.write_text("[]"), "one line", "evaluate"),
)  # fmt: skip
