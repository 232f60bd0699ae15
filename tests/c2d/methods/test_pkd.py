"""PKD: paper and pencil, the slow reference, student equals teacher, an image without boxes."""

from __future__ import annotations

import pytest
import torch

from c2d.core.errors import InputError
from c2d.detectors.recording.layout import DetectorLayout, Level
from c2d.methods.base import Context
from c2d.methods.pkd import PKD, PKDParams, pkd_of_level, standardised
from c2d.ops.adapters import resize_to
from tests.c2d import tiny_detectors
from tests.c2d.methods.neck_parity import neck_parity
from tests.c2d.methods.tiny_setup import deviation, stage, touched, view_of, without_adapters
from tests.reference import pkd_reference


def parity(student: str = "retinanet") -> float:
    """Largest relative deviation of the trained term and its gradient from the reference."""
    return neck_parity("pkd", "pkd", "phi", pkd_reference.pkd, student)


def maps(seed: int = 0) -> torch.Tensor:
    return torch.randn(2, 5, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_standardised_by_hand() -> None:
    one = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64).reshape(1, 1, 1, 3)  # deviation 1 over n - 1
    torch.testing.assert_close(standardised(one), (one - 2) / (1 + 1e-6))


def test_is_one_minus_pearson() -> None:
    s, t, n = maps(), maps(1), 24
    r = torch.stack([torch.corrcoef(torch.stack([s[:, m].flatten(), t[:, m].flatten()]))[0, 1] for m in range(5)])
    assert float(pkd_of_level(s, t)) == pytest.approx(float((1 - r).mean()) * (n - 1) / n, rel=1e-5)


def test_opposite_maps_and_equal_ones() -> None:
    t, n = maps(), 24
    assert float(pkd_of_level(-t, t)) == pytest.approx(2 * (n - 1) / n, rel=1e-5)
    assert float(pkd_of_level(t, t)) == 0


def test_affine_maps_of_a_channel_do_not_matter() -> None:
    s, t = maps(), maps(1)
    slope, shift = maps(2)[:1, :, :1, :1].abs() + 0.1, maps(3)[:1, :, :1, :1]
    for moved in ((slope * s + shift, t), (s, slope * t + shift)):  # up to eps
        torch.testing.assert_close(pkd_of_level(*moved), pkd_of_level(s, t), rtol=1e-4, atol=0)


@pytest.mark.parametrize("size", [(3, 4), (2, 5)])
def test_equals_the_reference_in_value_and_gradient(size: tuple[int, int]) -> None:
    s = torch.randn(2, 5, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(4)).requires_grad_()
    t = maps(1)
    ours, theirs = pkd_of_level(resize_to(s, t), t), pkd_reference.pkd_of_level(s, t)
    assert deviation(ours, [s], theirs, [s]) < 1e-10


@pytest.mark.parametrize("student", ["retinanet", "gfl", "faster"])
def test_what_is_trained_equals_the_reference(student: str) -> None:
    assert parity(student) < 1e-5


@pytest.mark.parametrize("shape", [(2, 3, 2, 2), (1, 3, 1, 1)])
def test_dead_channels_and_single_values_are_finite(shape: tuple[int, ...]) -> None:
    s = torch.full(shape, 3.0, requires_grad=True)
    value = pkd_of_level(s, torch.zeros(shape))
    value.backward()
    assert float(value.detach()) == 0
    assert s.grad is not None
    assert torch.isfinite(s.grad).all()


@pytest.mark.parametrize("name", tiny_detectors.NAMES)
def test_every_detector_is_taught_through_its_neck(name: str) -> None:
    play = stage("pkd", name, size=64)
    found = touched(play.model, play.terms()["pkd"])
    assert any(n.startswith("student.backbone") for n in found)
    assert not any("head" in n for n in found)
    assert any(n.startswith("distillers.pkd.phi") for n in found) == (name != "ssd")  # widths differ
    assert play.method.params.lambda_pkd == (6 if name in ("faster", "cascade") else 10)


@pytest.mark.parametrize("counts", [(3, 0), (0, 0)])
def test_images_without_boxes(counts: tuple[int, ...]) -> None:
    losses = stage("pkd", counts=counts, size=64).losses()
    value = losses["loss_kd_pkd_pkd"]
    value.backward()
    assert torch.isfinite(value)
    assert float(value.detach()) == pytest.approx(10 * float(losses["kd_pkd_pkd_raw"]))


def test_student_equals_teacher_gives_zero() -> None:
    play = without_adapters(stage("pkd", same=True, pad=0))
    play.model.eval()  # one network, one mode
    assert float(play.terms()["pkd"].detach()) == pytest.approx(0, abs=1e-10)


def test_a_convolution_of_ours_is_named_and_only_where_widths_differ() -> None:
    plain = stage("pkd", wide=False).method
    assert list(plain.parameters()) == []
    assert plain.notes[1].endswith("16 -> 16 channels as it is")
    assert "16 -> 24 channels by a 1x1 convolution of ours (the paper has none" in stage("pkd").method.notes[1]


def test_a_teacher_of_another_family_teaches_and_strides_choose() -> None:
    play = stage("pkd", "retinanet", "fcos", levels=(4, 16), size=64)
    assert float(play.terms()["pkd"].detach()) > 0
    assert play.method.notes[0] == "lambda_pkd 10"
    assert len(play.method.notes) == 3
    with pytest.raises(InputError, match="no level of stride 32"):
        stage("pkd", levels=(4, 8, 16, 32))


@pytest.mark.parametrize(
    ("student", "strides"),
    [
        ("retinanet", (8, 16, 32, 64, 128)),
        ("faster-rcnn", (4, 8, 16, 32, 64)),
        ("ssd", (8, 16, 32, 64, 100, 300)),
        ("YOLOV3", (8, 16, 32)),
    ],
)
def test_the_finest_four_levels_are_taught(student: str, strides: tuple[int, ...]) -> None:
    neck = tuple(Level(f"neck[{i}]", stride, 16, (8, 8)) for i, stride in enumerate(strides))
    layout = DetectorLayout(student, neck, neck, None)
    context = Context(3, student_layout=layout, teacher_layout=layout)
    assert PKD(PKDParams(), context).phi.strides == list(strides[:4])
    assert PKD(PKDParams(levels=strides), context).phi.strides == list(strides)


def test_a_fifth_level_of_the_same_maps_would_be_a_quarter_more() -> None:
    neck = tuple(Level(f"neck[{i}]", 8 * 2**i, 5, (3, 4)) for i in range(5))
    layout = DetectorLayout("retinanet", neck, neck, None)
    context = Context(3, student_layout=layout, teacher_layout=layout)
    view = view_of([maps()] * 5, [maps(1)] * 5, None)
    four, five = (
        float(PKD(PKDParams(levels=levels), context)(view)[0]["pkd"].value) for levels in (None, (8, 16, 32, 64, 128))
    )
    assert five == pytest.approx(1.25 * four)
    assert four == pytest.approx(4 * float(pkd_reference.pkd_of_level(maps(), maps(1))))


def test_weight_zero_computes_nothing() -> None:
    play = stage("pkd", lambda_pkd=0.0)
    assert play.terms() == {}
    assert list(play.method.parameters()) == []
    assert not play.method.needs.detector
