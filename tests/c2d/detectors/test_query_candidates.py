"""Cells and queries of DETR-like detectors with two stages, counted by hand."""

from __future__ import annotations

import pytest

from c2d.configs.student_config import load_student
from c2d.core.errors import InputError
from c2d.detectors.recording.query_candidates import check_candidates
from c2d.evaluation.stock_model import build_student


def test_an_image_needs_a_cell_for_each_query() -> None:
    """50 queries, strides 8, 16 and 32: 48 x 48 px have 36 + 9 + 4 cells, 64 x 40 px have 40 + 12 + 4."""
    dino = build_student(load_student("dino-qr18", num_classes=2, pretrained=False))
    check_candidates(dino, (64, 64), [(40, 64), (80, 128)])
    expected = (
        "input 48: 50 queries are taken from the cells of the image, and an image of 48 x 48 px has 49 cells at "
        "strides 8, 16, 32; set a larger `input` \\(64 is enough for square images\\), "
        "or `model.num_queries` to at most 49"
    )
    with pytest.raises(InputError, match=expected):
        check_candidates(dino, (48, 48), [(96, 96)])
    with pytest.raises(InputError, match="an image of 128 x 16 px has 44 cells"):  # 32 + 8 + 4: a narrow one
        check_candidates(dino, (128, 128), [(96, 96), (20, 160)])


def test_students_of_other_kinds_pass() -> None:
    for name in ("deformable-detr-qr18", "ddq-detr-qr18", "retinanet-qr18"):
        check_candidates(build_student(load_student(name, num_classes=2, pretrained=False)), (32, 32), [(32, 32)])
