"""Students of other kinds as graphs: two stages with RoIAlign and two NMS, and queries without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from c2d.data.scenes.make_scenes import make_scenes
from c2d.export.graph_parity import Parity
from c2d.export.runtimes import ONNX
from tests.c2d.export import graph_table
from tests.c2d.support_table import STUDENTS

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graphs") / "scenes"
    make_scenes(folder, train=1, val=4, size=200, seed=0)
    return folder


@pytest.mark.parametrize("student", ["faster-rcnn-qr18", "detr-qr18"])
def test_a_graph_finds_what_mmdet_finds(student: str, data: Path) -> None:
    found = graph_table.measure(student, data, (ONNX,)).outcomes[ONNX]
    assert isinstance(found, Parity), found
    assert found.detections >= 100
    assert found.unmatched <= 2


def test_the_page_has_every_family() -> None:
    text = graph_table.PAGE.read_text(encoding="utf-8").split(graph_table.BEGIN)[1].split(graph_table.END)[0]
    assert [name for name in STUDENTS if f"`{name}`" not in text] == []
