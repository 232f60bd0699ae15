"""Every backend that runs here, on a tiny student: equal to eager within its tolerance, found out where it is not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from benchmarks.backends import int8, onnx, onnx_export
from benchmarks.backends.base import BackendContext
from benchmarks.backends.registry import find_backend, prepare_backend
from benchmarks.latency import parity
from benchmarks.latency.artifact_checks import check_outputs
from benchmarks.latency.pipeline import InferencePipeline
from benchmarks.latency.student import load_stock_student
from c2d.data.scenes.make_scenes import make_scenes

RUN = "tiny-retinanet-baseline-10e2263c0d72-s0"
FIXTURE = Path(__file__).resolve().parents[2] / "fixtures" / "runs" / RUN
HERE = ("channels_last", "fp16", "bf16", "onnxruntime", "openvino", "int8")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the run knew it: its files, and data/scenes with six images."""
    folder = tmp_path_factory.mktemp("backends")
    shutil.copytree(FIXTURE, folder / RUN)
    make_scenes(folder / "data" / "scenes", train=1, val=6, size=96, seed=0)
    return folder


@pytest.fixture
def pipeline(place: Path, monkeypatch: pytest.MonkeyPatch) -> InferencePipeline:
    monkeypatch.chdir(place)
    return InferencePipeline(load_stock_student(place / RUN / "config.py", place / RUN / "student.pth"))


@pytest.fixture
def context(place: Path, pipeline: InferencePipeline) -> BackendContext:
    return pipeline.backend_context(place / "exported")


@pytest.mark.parametrize("name", HERE)
def test_equal_to_eager_on_real_images(pipeline: InferencePipeline, context: BackendContext, name: str) -> None:
    if name == "openvino":
        pytest.importorskip("openvino")
    call = prepare_backend(name, context)
    paths = pipeline.student.images(4)
    found = check_outputs(pipeline, name, call, paths)
    assert found["equal"], found
    assert 0 < found["max_deviation"] <= found["tolerance"] == parity.TOLERANCES[find_backend(name).precision]
    assert found["AP"] is not None
    assert (call.sha256 is None) == (name in ("channels_last", "fp16", "bf16"))
    if call.sha256:
        assert "NMS is not in it; " in call.note()
        assert "exported by torch" in call.note()
    batch = pipeline.preprocess(pipeline.read(paths[:3]))  # other batch sizes, by the same call
    assert [value.shape for value in call(batch.inputs)] == [value.shape for value in pipeline.eager(batch.inputs)]


def test_a_perturbed_export_fails(pipeline: InferencePipeline, context: BackendContext) -> None:
    """One of the box branch's 288 weights off by 0.01 is found; the file as it was exported is equal."""
    import onnx as library

    good = onnx_export.onnx_file(context)
    model = library.load(str(good))
    weights = next(one for one in model.graph.initializer if one.name.endswith("retina_reg.weight"))
    values = library.numpy_helper.to_array(weights).copy()
    values[0, 0, 1, 1] += 0.01
    weights.CopyFrom(library.numpy_helper.from_array(values, weights.name))
    bad = good.with_name("perturbed.onnx")
    library.save(model, str(bad))
    found = check_outputs(pipeline, "onnxruntime", onnx.open_session(bad, context.device), pipeline.student.images(2))
    assert not found["equal"]
    assert found["max_deviation"] > found["tolerance"]
    assert found["note"].startswith("most in output ")
    assert (
        parity.largest_deviation(pipeline, onnx.open_session(good, context.device), pipeline.student.images(2))[0]
        < 1e-5
    )


def test_an_export_is_made_once_and_belongs_to_its_weights(context: BackendContext) -> None:
    path = onnx_export.onnx_file(context)
    before = onnx_export.sha256(path), path.stat().st_mtime_ns
    assert onnx_export.onnx_file(context) == path
    assert (onnx_export.sha256(path), path.stat().st_mtime_ns) == before
    with torch.no_grad():
        next(context.network.parameters()).add_(1e-3)
    assert onnx_export._digest(context) not in path.name


def test_the_quantiser_sees_each_image_once(context: BackendContext) -> None:
    found = [one["images"].shape for one in int8._CalibrationReader(context.example_batches(int8.IMAGES))]
    assert found == [(1, 3, 64, 64)] * 6


def test_backends_leave_the_eager_network_unchanged(context: BackendContext) -> None:
    """Copies are converted, never the student."""
    before = {name: value.clone() for name, value in context.network.state_dict().items()}
    for name in ("fp16", "channels_last"):
        prepare_backend(name, context)
    after = context.network.state_dict()
    assert all(after[name].dtype == value.dtype and torch.equal(after[name], value) for name, value in before.items())
    assert all(value.is_contiguous() for value in after.values())
