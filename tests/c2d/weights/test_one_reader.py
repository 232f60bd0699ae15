"""`safe_load` is the only reader of weight files: in the code, and while every kind of command runs."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from c2d.core.attempt import Interrupted
from c2d.core.run_folder import RunFolder, read_json
from c2d.training.train import train
from c2d.weights import safe_load
from tests.c2d.conftest import TinyStore

ROOT = Path(__file__).parents[3]
READERS = re.compile(
    r"(?<![\w.])(?<!def )(torch\.load|torch\.jit\.load|torch\.hub\.load\w*|torch\.package\.\w+"
    r"|(?:c?pickle|dill|joblib|marshal)\.\w*load\w*"
    r"|shelve\.open|mmengine\.(?:fileio\.)?load|eval|exec|load_file|safe_open|init_detector)\((?!\))"
    r"|\b(_?load_checkpoint|load_url|load_state_dict_from_url|Unpickler)\(|(allow_pickle=True)",
    re.IGNORECASE,
)


def test_no_other_file_reads_weights_or_pickles() -> None:
    found = {
        (str(path.relative_to(ROOT)), next(filter(None, match.groups())))
        for room in ("c2d", "sweeps", "analysis", "benchmarks")
        for path in (ROOT / room).rglob("*.py")
        for match in READERS.finditer(path.read_text())
    }
    readers = {("c2d/weights/safe_load.py", "torch.load"), ("c2d/weights/safe_load.py", "load_file")}
    # The card of an exported student shows how others load it.
    assert found == {*readers, ("c2d/export/model_card.py", "init_detector")}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Make `torch.load` and the readers around it fail, unless safe_load calls it for weights alone; list its calls."""
    listed: list[str] = []
    original: Callable[..., Any] = torch.load

    def guarded(file: Any, *args: Any, **options: Any) -> Any:
        caller = sys._getframe(1).f_code
        assert caller.co_filename == safe_load.__file__, f"{caller.co_filename} reads {file} with torch.load"
        assert options.get("weights_only") is True, file
        listed.append(str(file))
        return original(file, *args, **options)

    def forbidden(*args: Any, **_options: Any) -> Any:
        raise AssertionError(f"a weight file is read beside safe_load: {args}")

    import mmengine.runner.checkpoint as host

    monkeypatch.setattr(torch, "load", guarded)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", forbidden)
    monkeypatch.setattr(torch.hub, "download_url_to_file", forbidden)
    for name in ("_safe_torch_load", "load_url"):
        if hasattr(host, name):
            monkeypatch.setattr(host, name, forbidden)
    return listed


def test_every_command_reads_weights_through_safe_load(
    tiny_store: TinyStore, teacher: RunFolder, tmp_path: Path, reads: list[str]
) -> None:
    from benchmarks.latency.student import load_stock_student
    from c2d.evaluation.evaluate_files import evaluate_files
    from c2d.evaluation.evaluate_run import evaluate_run
    from c2d.preflight import dry_run
    from c2d.preflight.dry_run_entry import Entry
    from c2d.preflight.visualize import draw_methods
    from c2d.specs.spec import parse_spec
    from c2d.training.build import build_from_name

    def read_by(call: Callable[[], object]) -> set[str]:
        """Names of the files that a call reads."""
        reads.clear()
        call()
        return {Path(name).name for name in reads}

    detector: RunFolder = tiny_store.create_run(2, seed=51)
    assert read_by(lambda: train(detector, tiny_store.options())) >= {"iter_00000002.pth", "student.pth"}
    run: RunFolder = tiny_store.create_run(
        2,
        init=str(detector.student),
        method=[{"icod": {"max_positives": 2}}, {"frs": {}}],
        teachers={"classifier": teacher.id, "detector": detector.id},
        seed=52,
    )
    with pytest.raises(Interrupted):
        train(run, tiny_store.options(stop_after=1))
    assert {"classifier.pth", "student.pth"} <= {Path(name).name for name in reads}
    assert "iter_00000001.pth" in read_by(lambda: train(run, tiny_store.options()))  # it resumes

    runs, data = tiny_store.runs, tiny_store.data
    assert read_by(lambda: evaluate_run(run.id, runs, data, check=False)) == {"student.pth"}
    files = (run.config, run.student, str(data / "scenes"), tmp_path)
    assert read_by(lambda: evaluate_files(*files, check=False)) == {"student.pth"}
    assert read_by(lambda: load_stock_student(run.config, run.student)) == {"student.pth"}
    inspected = read_by(lambda: draw_methods(build_from_name(run.id, runs, data), 1, tmp_path / "a.png"))
    assert {"classifier.pth", "student.pth"} <= inspected
    entry = Entry(parse_spec(read_json(run.spec), "test"), {}, tuple(read_json(data / "scenes/card.json")["classes"]))
    assert read_by(lambda: list(dry_run.run_entries([entry], runs, data)))  # the check of a sweep
