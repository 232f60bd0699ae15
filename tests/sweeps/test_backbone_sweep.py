"""A sweep whose students start from the training of their own backbone: three classes of generated pictures, for real.

The small form of what `icod-students` plans for QR50 on ImageNet.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from c2d.cli.main import main
from c2d.core.run_folder import RunFolder, read_json
from c2d.data.imagenet.convert_imagenet import convert
from c2d.preflight.dry_run_entry import Entry
from c2d.preflight.dry_run_one import DryRun
from sweeps.actions.submit import resolve
from sweeps.actions.workspace import Workspace
from sweeps.definition.definition import parse_definition
from sweeps.definition.profile import Profile
from sweeps.launchers import local_process
from tests.c2d.conftest import TINY, TinyStore, tiny_store  # noqa: F401
from tests.forked_python import SUBPROCESS

DEFINITION = f"""
question: Does a student start from the training of its own backbone?
base: {{dataset: scenes, student: {TINY}, schedule: {{name: smoke, values: {{iterations: 2, batch: 4}}}}}}
teachers:
  backbone:
    network: student:{TINY}
    dataset: pictures
    schedule:
      name: imagenet
      values: {{iterations: 4, batch: 8, milestones: [], min_top1: 0.0, input: 32, crops: {{image_size: 32}}}}
axes:
  init: [backbone]
seeds: 1
"""


@pytest.fixture
def store(tiny_store: TinyStore, tmp_path: Path) -> TinyStore:  # noqa: F811
    """The scenes, three classes of pictures as an image folder tree, and an empty store."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "scenes").symlink_to(tiny_store.data / "scenes")
    noise = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for name in ("blue", "green", "red"):
            folder = tmp_path / "src" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = noise.integers(0, 256, (40 + number, 36, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.JPEG")
    convert(tmp_path / "src", tmp_path / "data" / "pictures")
    return TinyStore(tmp_path / "data", tmp_path / "runs")


def test_the_backbone_is_trained_first(
    store: TinyStore, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_process, "subprocess", SUBPROCESS)
    file = tmp_path / "small.yaml"
    file.write_text(DEFINITION)
    monkeypatch.setenv("C2D_DATA", str(store.data))

    def call(*words: str) -> str:
        with pytest.raises(SystemExit) as stop:
            main(["sweep", *words, "--runs", str(store.runs)])
        printed = capsys.readouterr()
        assert not stop.value.code, printed.out + printed.err
        return printed.out

    planned = call("plan", str(file))
    assert planned.index("student-tiny-retinanet-classifier-") < planned.index("tiny-retinanet-baseline-")
    assert "[backbone]" in planned
    call("submit", str(file), "--where", "local", "--no-forward")
    assert "2 runs: 2 done" in call("status", "small")
    (pretrained,) = store.runs.glob("student-tiny-retinanet-classifier-*")
    (student,) = store.runs.glob("tiny-retinanet-baseline-*")
    result = read_json(RunFolder(student).result)
    assert result["teachers"]["backbone"]["run"] == pretrained.name
    assert result["teachers"]["backbone"]["dataset"] == "pictures"
    assert result["audit_init"]["loaded"] == result["audit_init"]["wanted"]


def test_the_dry_run_tries_both(store: TinyStore, tmp_path: Path) -> None:
    workspace = Workspace(store.runs, store.data, "local", Profile())
    grid = resolve(parse_definition(DEFINITION, "small.yaml", "small"), workspace)
    (backbone,) = grid.teachers
    dry_run = DryRun(store.runs, store.data, tmp_path / "scratch")
    assert "is the one its card describes" in dry_run.run(Entry(backbone, {}, ("blue", "green", "red")))[-1]
    notes = dry_run.run(Entry(grid.cells[0].spec, {"backbone": backbone}, ("a", "b")))
    assert notes[0].startswith(f"backbone {backbone.id} is not trained yet; tried with random weights")
    assert "keys loaded" in notes[0]
