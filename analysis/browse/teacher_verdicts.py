"""What a classifier teacher says about the boxes of a page: computed by a process of its own, and kept.

Reading a page's data needs no torch, classifying crops does: `c2d.evaluation.crops.crop_verdicts` runs as a process.
Its answer is kept under the folder of all caches (`$C2D_CACHE`, else `~/.cache/c2d`), in `browse/`, never in a run, and
is used again while boxes, weights of the teacher and version of c2d are the same.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import c2d
from analysis.browse.box_rows import Row
from analysis.loading.cache import cache_folder, is_inside
from c2d.core.disk import DiskError
from c2d.core.errors import InputError, RunError
from c2d.core.json_values import read_json, read_object, required
from c2d.core.process.python_process import module_command, module_environment
from c2d.core.process.stop_signals import exit_on_close_signals
from c2d.core.regular_file import FormatError, Problem
from c2d.core.run_folder import RunFolder, atomic_write_json
from c2d.core.store_folder import find_run

OWN = "own"
"""Stands for the teacher of the run itself."""
MODULE = "c2d.evaluation.crops.crop_verdicts"
WRONG_ANSWER = (AttributeError, LookupError, OverflowError, TypeError, ValueError)
"""What reading a file of another form raises."""


@dataclass(frozen=True)
class TeacherVerdicts:
    """The teacher's best classes of boxes.

    Attributes:
        sentence: which teacher, and what it sees.
        rows: {image id: one row a box, [class of the page, probability * 1000, ...] by falling probability, or None}.
    """

    sentence: str
    rows: Mapping[Any, Sequence[Row | None]]


def teacher_verdicts(
    run: RunFolder,
    teacher: str,
    boxes: Sequence[tuple[Any, list[list[float]]]],
    classes: Sequence[str],
    data: Path | None,
    device: str | None,
    print_line: Callable[[str], None],
) -> TeacherVerdicts:
    """Return the verdicts of a teacher, kept ones where nothing changed.

    Args:
        run: the detector, whose test pipeline reads the images.
        teacher: OWN, or a classifier run: id, beginning of an id, or folder.
        boxes: (image id, boxes x, y, w, h in px of the image).
        classes: names of the page, in its order.
        data: root of the data cards; None: C2D_DATA, else ./data.
        device: of torch; None: the first GPU, else the CPU.
        print_line: gets a line before a long computation.

    Raises:
        InputError: no torch here, no such teacher, or other classes.
        RunError: the process failed.
    """
    if find_spec("torch") is None or find_spec("mmdet") is None:
        raise InputError(
            "--teacher runs a classifier and needs torch and mmdet, not installed here; "
            "pip install 'c2d-suite[train]', or leave it out"
        )
    other = None if teacher == OWN else find_run(teacher, run.path.parent)
    request = {
        "run": str(run.path),
        "teacher": None if other is None else str(other.path),
        "data": None if data is None else str(data),
        "device": device,
        "images": [list(one) for one in boxes],
    }
    weights = [other] if other is not None else [RunFolder(run.path.parent / name) for name in _own_teachers(run)]
    kept = _place(run, request, weights)
    found = _kept_verdicts(kept, classes)
    if found is not None:
        return found
    count = sum(len(rows) for _, rows in boxes)
    print_line(f"the teacher classifies {count:,} crops; the answer is kept in {kept or 'no file'}")
    answer = _compute(request)
    try:
        found = _read(answer, classes)
    except WRONG_ANSWER as error:
        raise RunError(f"the answer of {MODULE} is no list of verdicts ({type(error).__name__}: {error})") from error
    if kept is not None:
        try:
            atomic_write_json(kept, answer)
        except DiskError as error:
            print_line(f"warning: the answer is not kept: {error}")
    return found


def _kept_verdicts(kept: Path | None, classes: Sequence[str]) -> TeacherVerdicts | None:
    """The answer of an earlier call; None where there is none, or its file is damaged."""
    answer = read_json(kept) if kept is not None and kept.is_file() else None
    try:
        return None if answer is None or isinstance(answer, Problem) else _read(answer, classes)
    except WRONG_ANSWER:
        return None


def _own_teachers(run: RunFolder) -> list[str]:
    """Ids of the classifier teachers of a run."""
    spec = read_object(run.spec)
    try:
        found = required(spec, "teachers", "classifier") if isinstance(spec, dict) else None
    except FormatError:
        found = None
    ids = found if isinstance(found, list) else [found] if found else []
    if not ids:
        raise InputError(
            f"run {run.id} has no classifier teacher; give a classifier run on the same data, --teacher RUN, or leave "
            "it out"
        )
    return [str(one) for one in ids]


def _place(run: RunFolder, request: Mapping[str, Any], weights: Sequence[RunFolder]) -> Path | None:
    """The file of an answer, named by all it depends on; None where nothing can be kept."""
    folder = cache_folder()
    if folder is None or is_inside(folder, run.path.parent):
        return None
    states = []
    for one in (teacher.classifier for teacher in weights):
        if not one.is_file():
            raise InputError(
                f"{one} is missing, the weights of the teacher; give another classifier run, --teacher RUN"
            )
        found = one.stat()
        states.append([found.st_size, found.st_mtime_ns])
    content = json.dumps([c2d.__version__, states, {**request, "device": None}])
    return folder / "browse" / f"teacher-{hashlib.sha256(content.encode()).hexdigest()[:32]}.json"


def _compute(request: Mapping[str, Any]) -> Any:
    """Run the process; its own error is the reason of ours."""
    with exit_on_close_signals(), tempfile.TemporaryDirectory(prefix="c2d-browse-") as folder:
        question, out = Path(folder) / "request.json", Path(folder) / "answer.json"
        atomic_write_json(question, request)
        done = subprocess.run(
            module_command(MODULE, str(question), str(out)),
            env=module_environment(),
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            reason = lines[-1].removeprefix("error: ")
            raise (InputError if done.returncode == InputError.exit_code else RunError)(reason)
        answer = read_json(out)
    if isinstance(answer, Problem):
        raise RunError(f"the answer of {MODULE} {answer.message}")
    return answer


def _read(answer: Any, classes: Sequence[str]) -> TeacherVerdicts:
    place = {name: index for index, name in enumerate(classes)}
    if unknown := [name for name in answer["classes"] if name not in place]:
        raise InputError(
            f"--teacher has the class {str(unknown[0])[:60]!a}, which the ground truth of the page does not have; give "
            "a classifier of the same classes, or leave it out"
        )
    to_page = [place[name] for name in answer["classes"]]

    def row(best: Sequence[float] | None) -> Row | None:
        if best is None:
            return None
        pairs = zip(best[0::2], best[1::2], strict=True)
        return [number for cls, share in pairs for number in (to_page[int(cls)], round(share * 1000))]

    names, context = " and ".join(answer["runs"]), float(answer["context"])
    around = f", with {context:.0%} context" if context else ""
    sentence = f"{names}: crops of {int(answer['size'])} px from the student's test pipeline{around}, softmax"
    if answer["temperature"] != 1:
        sentence += f" at temperature {answer['temperature']:.3g}"
    return TeacherVerdicts(sentence, {image: [row(best) for best in rows] for image, rows in answer["images"]})
