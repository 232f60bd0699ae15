"""All inputs of one target: corpus, hypothesis, atheris; then the coverage of the parser on what is kept.

`python -m tests.trust.fuzz.run_target TARGET INPUTS SEED KEEP OUT` is the process of one target.
"""

from __future__ import annotations

import importlib.util
import io
import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from types import FrameType
from typing import Any

from tests.trust.fuzz.campaign import (
    CORPUS,
    HYPOTHESIS_SHARE,
    ROOT,
    Outcome,
    Recorder,
    corpus_of,
    read_outcome,
    run_hypothesis,
    run_random,
)
from tests.trust.fuzz.targets import TARGETS, Parse, make_target, seeds_of

TraceFunction = Callable[[FrameType, str, Any], Any]
MOST_KEPT, MOST_BYTES = 20, 4096
"""Files of one target's corpus, and bytes of a file that is added by `--keep`."""


@dataclass
class TargetRow:
    """One line of the table.

    Attributes:
        target: name.
        engine: atheris, or random where it is not installed.
        outcome: of all inputs.
        coverage: branches and lines of the parser's modules that the kept inputs reach, in percent; None: not measured.
    """

    target: str
    engine: str
    outcome: Outcome
    coverage: float | None

    @staticmethod
    def heading() -> str:
        """Return the line above the rows."""
        return f"{'target':14}{'inputs':>8}{'failures':>10}{'slowest s':>11}{'MiB':>6}{'coverage':>10}{'s':>8}  engine"

    def text(self) -> str:
        """Return the row as a line."""
        found, percent = self.outcome, "-" if self.coverage is None else f"{self.coverage:.0f} %"
        return (
            f"{self.target:14}{found.inputs:>8}{len(found.failures):>10}{found.slowest_s:>11.2f}{found.peak_mib:>6.0f}"
            f"{percent:>10}{found.seconds:>8.0f}  hypothesis, {self.engine}"
        )


def run_targets(names: list[str], inputs: int, seed: int, at_once: int = 1, keep: bool = False) -> Iterator[TargetRow]:
    """Yield a row for each target, in their order.

    Args:
        names: targets.
        inputs: of each.
        seed: of all choices.
        at_once: targets that run at the same time.
        keep: add inputs to the corpus.
    """
    with ThreadPoolExecutor(at_once) as pool:
        yield from pool.map(lambda name: _in_process(name, inputs, seed, keep), names)


def _in_process(name: str, inputs: int, seed: int, keep: bool) -> TargetRow:
    with tempfile.TemporaryDirectory(prefix="c2d-fuzz-") as place:
        out = Path(place) / "row.json"
        done = _run_module("run_target", name, inputs, seed, int(keep), out)
        try:
            value = json.loads(out.read_text())
        except (OSError, ValueError):
            lines = done.stderr.strip().splitlines()
            failure = {f"the process ended with {done.returncode}: {lines[-1] if lines else ''}": ""}
            return TargetRow(name, "-", Outcome(failures=failure), None)
        return TargetRow(name, value["engine"], Outcome(**value["outcome"]), value["coverage"])


def _run_module(module: str, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-m", f"tests.trust.fuzz.{module}", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def run_target(name: str, inputs: int, seed: int, keep: bool) -> TargetRow:
    """Give all inputs to one target in this process and a process of atheris.

    Args:
        name: of the target.
        inputs: their number, the corpus included.
        seed: of all choices.
        keep: add inputs to the corpus.
    """
    measured = _coverage_of(name)
    corpus = corpus_of(name)
    parse = make_target(name)
    recorder = Recorder(parse)
    documents = seeds_of(name, corpus)
    for document in documents:
        recorder(document)
    total = recorder.finish()
    percent = measured.stop() if measured else None
    total.add(run_hypothesis(parse, documents, inputs // HYPOTHESIS_SHARE, seed))
    left = max(0, inputs - total.inputs)
    if importlib.util.find_spec("atheris") is None:
        total.add(run_random(parse, documents, left, seed))
        return TargetRow(name, "random (atheris is not installed)", total, percent)
    with tempfile.TemporaryDirectory(prefix="c2d-fuzz-") as place:
        folder, path = Path(place) / "new", Path(place) / "outcome.json"
        folder.mkdir()
        done = _run_module("coverage_guided", name, left, seed, path, folder)
        if path.is_file():
            total.add(read_outcome(path))
        if done.returncode:
            total.failures[f"atheris ended with {done.returncode}: {done.stderr.strip()[-300:]}"] = ""
        if keep:
            _keep(name, total, folder)
    return TargetRow(name, "atheris", total, percent)


class _Measured:
    """Coverage of the modules of a target, from here on."""

    def __init__(self, modules: tuple[str, ...]) -> None:
        import coverage

        self.files = [str(ROOT / f"{module.replace('.', '/')}.py") for module in modules]
        self.cover = coverage.Coverage(branch=True, include=self.files, data_file=None, config_file=False)
        self.cover.start()

    def stop(self) -> float:
        """Return the percentage of lines and branches that were reached."""
        self.cover.stop()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return float(self.cover.report(file=io.StringIO()))


def _coverage_of(name: str) -> _Measured | None:
    return None if importlib.util.find_spec("coverage") is None else _Measured(TARGETS[name].modules)


def _keep(name: str, outcome: Outcome, folder: Path) -> None:
    """Add the inputs that failed, and the smallest ones that reach most new lines, to the corpus of a target."""
    place = CORPUS / name
    place.mkdir(exist_ok=True)
    for failing in outcome.failures.values():
        _add(place, bytes.fromhex(failing))
    parse = make_target(name)
    files = {str(ROOT / f"{module.replace('.', '/')}.py") for module in TARGETS[name].modules}
    reached = set().union(*(_arcs(parse, data, files) for data in seeds_of(name, corpus_of(name))))
    found = [path.read_bytes() for path in folder.iterdir()]
    by_arcs = [(data, _arcs(parse, data, files)) for data in sorted(found, key=len) if len(data) <= MOST_BYTES]
    while by_arcs and len(list(place.iterdir())) < MOST_KEPT:
        data, arcs = max(by_arcs, key=lambda item: (len(item[1] - reached), -len(item[0])))
        if not arcs - reached:
            break
        reached |= arcs
        _add(place, data)


def _add(place: Path, data: bytes) -> None:
    if data and data not in [path.read_bytes() for path in place.iterdir()]:
        (place / sha256(data).hexdigest()[:12]).write_bytes(data)


def _arcs(parse: Parse, data: bytes, files: set[str]) -> set[tuple[str, int, int]]:
    """Return (file, line before, line) of the steps that an input takes in the files."""
    found: set[tuple[str, int, int]] = set()

    def trace(frame: FrameType, event: str, _: object) -> TraceFunction | None:
        if frame.f_code.co_filename not in files:
            return None
        last = [frame.f_lineno]

        def local(frame: FrameType, event: str, _: object) -> TraceFunction:
            found.add((frame.f_code.co_filename, last[0], frame.f_lineno))
            last[0] = frame.f_lineno
            return local

        return local

    sys.settrace(trace)
    try:
        with suppress(BaseException):
            parse(data)
    finally:
        sys.settrace(None)
    return found


if __name__ == "__main__":
    row = run_target(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "1")
    Path(sys.argv[5]).write_text(json.dumps(asdict(row)))
