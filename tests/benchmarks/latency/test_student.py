"""A student's stages together are its evaluation, image for image; files that do not belong are refused."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.backends.registry import prepare_backend
from benchmarks.latency import pipeline
from benchmarks.latency.average_precision import average_precision
from benchmarks.latency.pipeline import InferencePipeline
from benchmarks.latency.student import load_stock_student
from c2d.core.errors import InputError
from c2d.data.scenes.make_scenes import make_scenes
from c2d.evaluation.detect import detect

RUN = Path(__file__).resolve().parents[2] / "fixtures" / "runs" / "tiny-retinanet-baseline-10e2263c0d72-s0"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Config and weights of the fixture, with images in the folder that the config names."""
    folder = tmp_path_factory.mktemp("student")
    for name in ("config.py", "student.pth"):
        shutil.copy(RUN / name, folder / name)
    make_scenes(folder / "data" / "scenes", train=1, val=5, size=96, seed=0)
    return folder


@pytest.fixture(scope="module")
def stages(place: Path) -> InferencePipeline:
    here = Path.cwd()
    os.chdir(place)
    try:
        student = load_stock_student(Path("config.py"), Path("student.pth"))
        _ = student.dataset  # read while its relative paths hold
        return InferencePipeline(student)
    finally:
        os.chdir(here)


@pytest.fixture(autouse=True)
def _there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


@pytest.mark.parametrize("size", [1, 5])
def test_end_to_end_is_the_evaluation(stages: InferencePipeline, size: int) -> None:
    expected = detect(stages.student.detector, stages.student.dataset)
    paths = stages.student.images(5)
    call = prepare_backend("eager", stages.backend_context(Path()))
    found = [one for begin in range(0, 5, size) for one in stages.end_to_end(paths[begin : begin + size], call)]
    rows = [
        (stages.student.dataset.get_data_info(index)["img_id"], stages.student.dataset.cat_ids[label], score)
        for index, one in enumerate(found)
        for label, score in zip(one.labels.tolist(), one.scores.double().tolist(), strict=True)
    ]
    # A batch may take another kernel than one image, so scores that are nearly equal may change places.
    wanted = [(one["image_id"], one["category_id"], one["score"]) for one in expected]
    assert len(rows) == len(wanted) > 20
    assert [row[0] for row in rows] == [row[0] for row in wanted]
    for one, other in zip(sorted(rows), sorted(wanted), strict=True):
        assert one[:2] == other[:2]
        assert one[2] == pytest.approx(other[2], abs=1e-5)


def test_images_are_spread_over_the_set(stages: InferencePipeline) -> None:
    assert [path.name for path in stages.student.images(2)] == ["val_000000.png", "val_000002.png"]  # of 5: 0 and 2.5
    assert len(stages.student.images(99)) == 5


def test_stages_hand_each_other_what_they_should(stages: InferencePipeline) -> None:
    arrays = stages.read(stages.student.images(2))
    assert [(array.shape, array.dtype.name) for array in arrays] == [((96, 96, 3), "uint8")] * 2
    batch = stages.to_device(stages.preprocess(arrays, ids=[7, 9]))
    assert batch.inputs.shape == (2, 3, 64, 64)
    assert batch.inputs.dtype == torch.float32
    assert [sample.img_id for sample in batch.samples] == [7, 9]
    raw = stages.network.run(stages.eager, batch)
    assert all(isinstance(one, torch.Tensor) and len(one) == 2 for one in raw)
    for one in stages.post_process(raw, batch):
        assert one.boxes.shape == (len(one.scores), 4) == (len(one.labels), 4)


def test_another_size(place: Path) -> None:
    found = InferencePipeline(load_stock_student(place / "config.py", place / "student.pth"), size=(96, 96))
    assert (found.size, found.resized, found.padded_size) == ((96, 96), True, (96, 96))
    assert found.preprocess(found.read([place / "data/scenes/val/val_000000.png"])).inputs.shape[-2:] == (96, 96)


def test_classes_and_wrapped_data_sets(stages: InferencePipeline, place: Path, tmp_path: Path) -> None:
    """The AP of an artefact is taken where output k is category k; a wrapper around one data set is no matter."""
    call = prepare_backend("eager", stages.backend_context(Path()))
    paths = stages.student.images(2)
    expected = average_precision(stages, call, paths)
    assert stages.student.outputs is not None
    turned = dataclasses.replace(stages.student, outputs=stages.student.outputs[::-1])
    stages.student, kept = turned, stages.student
    try:
        with pytest.raises(InputError, match="c2d evaluate pairs them by name"):
            average_precision(stages, call, paths)
    finally:
        stages.student = kept
    text = (place / "config.py").read_text()
    wrap = "test_dataloader['dataset'] = dict(type='{}', {})\n"
    (tmp_path / "wrapped.py").write_text(
        text + wrap.format("RepeatDataset", "times=1, dataset=test_dataloader['dataset']")
    )
    wrapped = InferencePipeline(load_stock_student(tmp_path / "wrapped.py", place / "student.pth"))
    assert average_precision(wrapped, call, paths) == expected
    both = "datasets=[test_dataloader['dataset'], test_dataloader['dataset']]"
    (tmp_path / "two.py").write_text(text + wrap.format("ConcatDataset", both))
    with pytest.raises(InputError, match="is 2 data sets"):
        load_stock_student(tmp_path / "two.py", place / "student.pth")


def test_sizes_in_a_pipeline() -> None:
    steps: list[dict[str, Any]] = [
        {"type": "LoadImageFromFile"},
        {"type": "Resize", "scale": (1333, 800), "keep_ratio": True},
        {"type": "Pad", "size": (1333, 800)},
        {"type": "Pad", "size": (7, 7)},
    ]
    assert pipeline.input_size(steps) == (800, 1333)  # mmcv's scale is width, height
    changed = pipeline.resize_steps(steps, (300, 400))
    assert [step.get("scale") or step.get("size") for step in changed] == [None, (400, 300), (400, 300), (7, 7)]
    assert steps[1]["scale"] == (1333, 800)
    with pytest.raises(InputError, match="no step with a `scale`"):
        pipeline.input_size(steps[:1])
    with pytest.raises(InputError, match="begins with Resize, not with LoadImageFromFile"):
        pipeline.build_transforms(steps[1:])


def test_files_that_do_not_belong(place: Path, tmp_path: Path) -> None:
    config, weights = place / "config.py", place / "student.pth"
    with pytest.raises(InputError, match=r"no config .*; give a whole mmdet config"):
        load_stock_student(tmp_path / "none.py", weights)
    with pytest.raises(InputError, match=r"no checkpoint .*; give the student.pth"):
        load_stock_student(config, tmp_path / "none.pth")
    (tmp_path / "half.py").write_text("model = dict(type='RetinaNet')")
    with pytest.raises(InputError, match="has no `test_dataloader`"):
        load_stock_student(tmp_path / "half.py", weights)
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(InputError, match=r"text.pth is no torch file"):
        load_stock_student(config, tmp_path / "text.pth")
    torch.save({"iteration": 3}, tmp_path / "empty.pth")
    with pytest.raises(InputError, match=r"empty\.pth holds no weights"):
        load_stock_student(config, tmp_path / "empty.pth")


def test_weights_inside_a_checkpoint_are_found(place: Path, tmp_path: Path) -> None:
    state = torch.load(place / "student.pth", weights_only=True)
    torch.save({"meta": {"epoch": 1}, "state_dict": state}, tmp_path / "mm.pth")
    student = load_stock_student(place / "config.py", tmp_path / "mm.pth")
    loaded = student.detector.state_dict()
    assert all(torch.equal(loaded[name], weight) for name, weight in state.items())


def test_a_data_set_that_is_gone_is_named(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = load_stock_student(place / "config.py", place / "student.pth")
    with pytest.raises(InputError, match=r"no annotations data/scenes/annotations.*--images random"):
        found.images(1)
