"""Part `odd-data`: data sets of extreme sizes, counts and names, links, and files that are traps.

Every data set is checked by `c2d data check`. One that is in order is then trained on, measured and reported; right is
the number of its boxes and classes in the result. One that is a trap is refused: exit code 2, a line that names the
file, and no more than 5 s and 1 GB above a check of an ordinary data set.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from c2d.core.run_folder import read_json
from tests.c2d.conftest import TINY
from tests.trust.forks import start_command
from tests.trust.killed_training import import_everything
from tests.trust.odd_sets import OddSet, grid_of_boxes, outside_link, replaced, zero_png
from tests.trust.part import Outcome, Row, measure

PART = "odd-data"
LIMIT_S, LIMIT_MIB = 5.0, 1024.0
UNICODE = ("مرحبا", "שלום", "🐝", "e\u0301te\u0301", "蜜蜂", "[red]", "=1+1", "<b>", "a|b", "\\input{x}", "ﬁ", "Ω" * 80)


class Command(NamedTuple):
    """The end of a command in a fork.

    Attributes:
        code: exit code.
        output: stdout and stderr.
        seconds: wall time, without imports: the fork has imported everything.
        peak_mib: its largest resident size, with what it has from its parent.
    """

    code: int
    output: str
    seconds: float
    peak_mib: float


def call(words: list[str], scratch: Path) -> Command:
    """Run `c2d WORDS` in a fork."""
    output, begun = scratch / "output", time.monotonic()
    started = start_command(words, output, _own_streams)
    _, status, usage = os.wait4(started.pid, 0)
    seconds = time.monotonic() - begun
    return Command(os.waitstatus_to_exitcode(status), output.read_text(), seconds, usage.ru_maxrss / 1024)


def _own_streams() -> None:
    """Print into the file of this fork, also where a test has put its own streams in their place."""
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)


def check(data: OddSet, scratch: Path) -> Command:
    """`c2d data check` of both splits; it writes the card."""
    words = ["data", "check", *map(str, data.annotation_files), "--images", str(data.image_folder)]
    return call(
        [*words, "--card", str(data.folder / "card.json"), "--name", data.folder.name, "--min-size", "1"], scratch
    )


def good_sets(root: Path) -> Iterator[tuple[str, OddSet, dict[str, Any]]]:
    """Yield (what it is, the data set, overrides of the spec) of the data sets that are in order."""
    yield "links to images outside of the data set", OddSet(root / "links", place=outside_link), {}
    sizes = {"a.png": (64, 64), "b.png": (1, 50), "c.png": (50, 1), "d.png": (1, 1)}
    thin = {"b.png": [(10.0, 0.0, 30.0, 1.0)], "c.png": [(0.0, 10.0, 1.0, 30.0)], "d.png": [(0.0, 0.0, 1.0, 1.0)]}
    least = {"train_dataloader.dataset.filter_cfg.min_size": 1}
    yield "images of 1 x 1, 1 x 50 and 50 x 1 pixels", OddSet(root / "thin", images=sizes, boxes=thin), least
    full = {"0.png": grid_of_boxes(5000, 512)}
    yield (
        "5,000 boxes in an image",
        OddSet(root / "full", images={"0.png": (512, 512), "1.png": (64, 64)}, boxes=full),
        {},
    )
    yield "one class", OddSet(root / "one", classes=("ant",)), {}
    many = {f"{k}.png": grid_of_boxes(300, 256) for k in range(4)}
    names = tuple(f"species {k}" for k in range(1200))
    images = dict.fromkeys(many, (256, 256))
    yield "1,200 classes", OddSet(root / "many", classes=names, images=images, boxes=many), {}
    long = "é" * 125 + "x.png"  # 255 bytes
    files = dict.fromkeys(("مرحبا.png", "🐝.png", "e\u0301.png", "a b;c'd.png", long), (64, 64))
    yield "names in other scripts, of 255 bytes, with markup", OddSet(root / "names", classes=UNICODE, images=files), {}


def traps(root: Path) -> Iterator[tuple[str, OddSet, str]]:
    """Yield (what it is, the data set, a text of the message) of the data sets that are refused."""
    for side, what in ((50_000, "above OpenCV's limit"), (32_000, "below OpenCV's limit, above that of c2d")):
        bomb = zero_png(side, side)
        data = _trap(root / f"bomb{side}", lambda path, bomb=bomb: path.write_bytes(bomb))
        data.stated["0.png"] = (side, side)
        yield f"PNG of {side} x {side} zeros, {what}", data, "above a limit"
    largest = zero_png(11_585, 11_585, 8)

    def every(images: Path) -> None:
        for file in images.rglob("*.png"):
            file.write_bytes(largest)

    yield "eight PNG of 11,585 x 11,585 zeros in the place of 64 x 64", OddSet(root / "largest", place=every), "11585"
    thin = {"0.png": (64, 64), "1.png": (1, 10_000)}
    flat = {"1.png": [(10.0, 0.0, 900.0, 1.0)]}
    yield "an image of 1 x 10,000 pixels", OddSet(root / "thin", images=thin, boxes=flat), "cut the image into parts"
    yield "a link to /dev/zero", _trap(root / "zero", lambda path: path.symlink_to("/dev/zero")), "a device or a pipe"
    yield "a named pipe", _trap(root / "pipe", os.mkfifo), "a device or a pipe"
    yield "a link to itself", _trap(root / "loop", lambda path: path.symlink_to(path)), "cannot be opened"
    yield "a link to /etc/passwd", _trap(root / "text", lambda path: path.symlink_to("/etc/passwd")), "0.png"
    yield "a sparse file of 1 TB", _trap(root / "sparse", lambda path: _sparse(path, 2**40)), "at most"


def _trap(folder: Path, make: Any) -> OddSet:
    return OddSet(folder, place=replaced("0.png", make))


def _sparse(path: Path, size: int) -> None:
    with open(path, "wb") as stream:
        stream.truncate(size)


def rows(scratch: Path) -> Iterator[Row]:
    """Yield a row for each trap, then one for each data set that is in order."""
    import_everything()
    ordinary = check(OddSet(scratch / "traps" / "ordinary").write(), scratch)
    for name, data, text in traps(scratch / "traps"):
        expected = f"exit 2, a line with the file, {LIMIT_S:g} s, {LIMIT_MIB:g} MiB above an ordinary check"
        yield measure(PART, name, expected, partial(refused, data, text, ordinary, scratch))
        shutil.rmtree(data.folder)
    for name, data, overrides in good_sets(scratch / "data"):
        expected = (
            "check, train, evaluate and report end with 0; classes and boxes of the result are those of the files"
        )
        yield measure(PART, name, expected, partial(followed, data, overrides, scratch))


def refused(data: OddSet, text: str, ordinary: Command, scratch: Path) -> Outcome:
    """Check a data set that is a trap."""
    found = check(data.write(), scratch)
    lines = [line for line in found.output.splitlines() if text in line and ".png" in line]
    above = found.peak_mib - ordinary.peak_mib
    passed = found.code == 2 and bool(lines) and "Traceback" not in found.output
    passed &= found.seconds < LIMIT_S + ordinary.seconds and above < LIMIT_MIB
    seen = f"exit {found.code}, {found.seconds:.1f} s, {above:+.0f} MiB: {(lines or [found.output[-200:]])[0][-160:]}"
    return passed, seen, {"seconds": found.seconds, "above_mib": above}


def followed(data: OddSet, overrides: dict[str, Any], scratch: Path) -> Outcome:
    """Check a data set, train four iterations on it, evaluate the run again and report it."""
    data.write()
    runs, root = scratch / "runs" / data.folder.name, data.folder.parent
    spec = scratch / f"{data.folder.name}.yaml"
    value = {
        "dataset": data.folder.name,
        "student": str(TINY),
        "schedule": {"name": "smoke", "values": {"iterations": 4}},
    }
    spec.write_text(json.dumps({**value, "overrides": overrides}))
    store = ["--runs", str(runs), "--data", str(root)]
    steps = {"check": check(data, scratch)}
    steps["train"] = call(["train", str(spec), *store, "--workers", "0", "--quiet"], scratch)
    results = list(runs.glob("*/result.json"))
    if steps["train"].code == 0 and results:
        run = results[0].parent
        words = ["evaluate", run.name, "--runs", str(runs), "--data", str(root), "--workers", "0"]
        steps["evaluate"] = call([*words, "--out", str(scratch / "again.json")], scratch)
        steps["report"] = call(["report", *store, "--out", str(scratch / f"report-{data.folder.name}")], scratch)
    seen = ", ".join(f"{name} {end.code} ({end.seconds:.1f} s)" for name, end in steps.items())
    wrong = [
        f"{name}: {end.output.strip()[-300:]}" for name, end in steps.items() if end.code or "Traceback" in end.output
    ]
    if wrong or len(steps) < 4:
        return False, f"{seen}; {' '.join(wrong)}"
    result, again = read_json(results[0]), read_json(scratch / "again.json")
    boxes = len(read_json(data.annotation_files[1])["annotations"])
    facts = {"classes": len(result["per_class"]), "AP": result["AP"], "AP_again": again["AP"]}
    passed = result["AP"] == again["AP"] and sorted(result["per_class"]) == sorted(data.classes)
    return passed, f"{seen}; {facts['classes']} classes, {boxes} boxes, AP {result['AP']}", facts
