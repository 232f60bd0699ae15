"""Networks that can be exported, the exporter, and the reasons of those that cannot or lack a library."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks.backends import onnx, onnx_export, packages
from benchmarks.backends.base import Unavailable
from benchmarks.backends.network import split_network
from benchmarks.backends.registry import prepare_backend
from benchmarks.latency import parity


def tiny(name: str, workspace: Path) -> Any:
    """The context of a backend with the tiny detector of one head family."""
    from tests.c2d import tiny_detectors

    detector = tiny_detectors.build(name).eval()
    network = split_network(detector, torch.zeros(1, 3, 96, 96))
    return SimpleNamespace(
        network=network, size=(96, 96), device=torch.device("cpu"), workspace=workspace, model_config=name,
    )  # fmt: skip


@pytest.mark.parametrize("family", ["ssd", "gfl", "fcos", "atss"])
def test_every_dense_head_is_exported(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the exporter that traces, as where torch.export fails; a batch of 2 and one of 1, square and not."""
    real = torch.onnx.export

    def only_tracing(*args: Any, dynamo: bool, **more: Any) -> Any:
        if dynamo:
            raise RuntimeError("does not understand it")
        return real(*args, dynamo=dynamo, **more)

    monkeypatch.setattr(torch.onnx, "export", only_tracing)
    context = tiny(family, tmp_path)
    call = onnx.prepare(context)
    assert call.note() == "NMS is not in it; exported by TorchScript"
    for shape in ((2, 3, 96, 96), (1, 3, 64, 128)):
        images = torch.rand(shape)
        with torch.no_grad():
            pairs = list(zip(context.network(images), call(images), strict=True))
        assert max(parity.deviation_of_maps(one, other) for one, other in pairs) < 1e-5


def test_a_failed_export_names_the_errors_of_both_exporters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, dynamo: bool, **__: Any) -> None:
        raise RuntimeError("one" if dynamo else "two")

    monkeypatch.setattr(torch.onnx, "export", fails)
    with pytest.raises(Unavailable, match=r"cannot export this network \(torch.export: one; TorchScript: two\)"):
        onnx_export.onnx_file(tiny("ssd", tmp_path))
    assert not list(tmp_path.iterdir())


def test_two_stages_are_not_exported_but_run_otherwise(tmp_path: Path) -> None:
    context = tiny("faster", tmp_path)
    for name in ("onnxruntime", "int8"):
        with pytest.raises(Unavailable, match="NMS is inside the network of a FasterRCNN"):
            prepare_backend(name, context)
    images = torch.rand(1, 3, 96, 96)
    for name in ("channels_last", "bf16"):
        found = prepare_backend(name, context)(images)
        assert [value.dtype for value in found] == [torch.float32] * 3


@pytest.mark.parametrize(
    ("name", "package", "install"),
    [
        ("onnxruntime", "onnxruntime", r"pip install 'c2d-suite\[export\]'"),
        ("onnxruntime", "onnx", r"pip install 'c2d-suite\[export\]'"),
        ("int8", "onnxruntime", r"pip install 'c2d-suite\[export\]'"),
        ("openvino", "openvino", r"pip install 'c2d-suite\[openvino\]'"),
        ("tensorrt", "tensorrt", "pip install tensorrt"),
    ],
)
def test_a_missing_package_is_named_with_what_to_install(
    name: str, package: str, install: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.import_module

    def absent(module: str) -> Any:
        if module.partition(".")[0] == package:
            raise ModuleNotFoundError(f"No module named '{package}'", name=package)
        return real(module)

    monkeypatch.setattr(packages, "import_module", absent)
    with pytest.raises(Unavailable, match=f"^{package} is not installed: {install}$"):
        prepare_backend(name, tiny("ssd", tmp_path))


def test_a_broken_package_reports_its_own_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: str) -> Any:
        raise OSError("libnvinfer.so: cannot open shared object file\nmore")

    monkeypatch.setattr(packages, "import_module", broken)
    with pytest.raises(Unavailable, match=r"cannot be imported: libnvinfer.so: cannot open shared object file$"):
        packages.require_package("tensorrt", "tensorrt")


def test_int8_and_openvino_stay_on_the_cpu(tmp_path: Path) -> None:
    context = tiny("ssd", tmp_path)
    context.device = torch.device("cuda")
    for name in ("int8", "openvino"):
        with pytest.raises(Unavailable, match="measure with --device cpu"):
            prepare_backend(name, context)
