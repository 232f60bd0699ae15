"""Verdicts of a teacher: asked of a process once, kept outside of the store, and translated to the page's classes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from analysis.browse import teacher_verdicts as verdicts
from c2d.core.errors import InputError, RunError
from c2d.core.run_folder import RunFolder
from tests.analysis.browse import small_set

ANSWER = {
    "format": 1, "classes": ["b", "a"], "runs": ["net-classifier"], "size": 48, "context": 0.1, "temperature": 1.5,
    "images": [[1, [[0.0, 0.75, 1.0, 0.25], None]]],
}  # fmt: skip
BOXES: list[Any] = [(1, [[0.0, 0.0, 9.0, 9.0], [0.0, 0.0, 1.0, 9.0]])]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run with a teacher; the process that answers is a script."""
    folder = small_set.write_run(tmp_path / "runs", "net-kd-0123456789ab-s0", small_set.B)
    spec = json.loads((folder / "spec.json").read_text())
    spec["teachers"]["classifier"] = "net-classifier"
    (folder / "spec.json").write_text(json.dumps(spec))
    weights = tmp_path / "runs" / "net-classifier" / "classifier.pth"
    weights.parent.mkdir()
    weights.write_bytes(b"weights")
    monkeypatch.setenv("C2D_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(verdicts, "find_spec", lambda name: True)
    answer_with(monkeypatch, f"open(sys.argv[2], 'w').write({json.dumps(ANSWER)!r})")
    return RunFolder(folder)


def answer_with(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    command = [sys.executable, "-S", "-c", f"import sys; {script}"]
    monkeypatch.setattr(verdicts, "module_command", lambda module, *files: [*command, *files])


def ask(run: RunFolder, teacher: str = verdicts.OWN) -> tuple[verdicts.TeacherVerdicts, list[str]]:
    lines: list[str] = []
    return verdicts.teacher_verdicts(run, teacher, BOXES, ["a", "b"], None, None, lines.append), lines


def test_an_answer_is_kept_until_the_weights_change(run, tmp_path, monkeypatch):
    found, lines = ask(run)
    assert found.rows == {1: [[1, 750, 0, 250], None]}
    assert found.sentence == (
        "net-classifier: crops of 48 px from the student's test pipeline, with 10% context, softmax at temperature 1.5"
    )
    (kept,) = (tmp_path / "cache" / "browse").iterdir()
    assert lines == [f"the teacher classifies 2 crops; the answer is kept in {kept}"]
    answer_with(monkeypatch, "sys.exit(9)")
    assert ask(run) == (found, [])
    (tmp_path / "runs" / "net-classifier" / "classifier.pth").write_bytes(b"other weights")
    with pytest.raises(RunError, match="exit code 9"):
        ask(run)


def test_the_error_of_the_process_is_ours(run, monkeypatch):
    answer_with(monkeypatch, "print('error: the classes differ', file=sys.stderr); sys.exit(2)")
    with pytest.raises(InputError, match=r"^the classes differ$"):
        ask(run)


@pytest.mark.parametrize("damage", ['{"format": 1}', "garbage", "[1]", '{"classes": 3}'])
def test_a_damaged_answer_is_computed_again(run, tmp_path, damage):
    found, _ = ask(run)
    (kept,) = (tmp_path / "cache" / "browse").iterdir()
    content = kept.read_bytes()
    kept.write_text(damage)
    assert ask(run)[0] == found
    assert kept.read_bytes() == content


def test_an_answer_that_cannot_be_kept_is_used(run, tmp_path):
    (tmp_path / "cache").write_text("no folder")
    found, lines = ask(run)
    assert found.rows == {1: [[1, 750, 0, 250], None]}
    assert lines[1].startswith("warning: the answer is not kept: cannot write")


def test_an_answer_of_another_form_is_an_error(run, monkeypatch):
    answer_with(monkeypatch, "open(sys.argv[2], 'w').write('{}')")
    with pytest.raises(RunError, match=r"crop_verdicts is no list of verdicts \(KeyError: 'classes'\)"):
        ask(run)


def test_ground_truth_without_a_class_of_the_teacher_is_no_damaged_answer(run):
    with pytest.raises(InputError, match=r"^--teacher has the class 'b', which the ground truth of the page does not"):
        verdicts.teacher_verdicts(run, verdicts.OWN, BOXES, ["a", "c"], None, None, print)


def test_what_is_missing_is_named(run, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="other"):
        ask(run, "other")
    (tmp_path / "runs" / "net-classifier" / "classifier.pth").unlink()
    with pytest.raises(InputError, match=r"classifier\.pth is missing, the weights of the teacher"):
        ask(run)
    monkeypatch.setattr(verdicts, "find_spec", lambda name: None)
    with pytest.raises(
        InputError, match=r"needs torch and mmdet, not installed here; pip install 'c2d-suite\[train\]'"
    ):
        ask(run)
