"""Attention transfer: paper and pencil, the slow reference, student equals teacher, an image without boxes."""

from __future__ import annotations

import pytest
import torch

from c2d.core.errors import InputError
from c2d.methods.at import at_of_level, attention
from tests.c2d import tiny_detectors
from tests.c2d.methods.neck_parity import neck_parity
from tests.c2d.methods.tiny_setup import deviation, stage, touched
from tests.reference import at_reference


def parity(student: str = "retinanet") -> float:
    """Largest relative deviation of the trained term and its gradient from the reference."""
    return neck_parity("at", "att", "maps", at_reference.at, student)


def maps(channels: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(2, channels, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_attention_of_three_and_four() -> None:
    one = torch.tensor([[3.0, 0.0], [3.0, 4.0]]).sqrt().reshape(1, 2, 1, 2)  # energy: 3 and 2
    torch.testing.assert_close(attention(one), torch.tensor([[3.0, 2.0]]) / 13**0.5)


def test_disjoint_attention_is_two_over_the_positions() -> None:
    left, right = torch.zeros(2, 1, 1, 3, 4)
    left[..., 0], right[..., 1] = 2.0, 5.0
    assert float(at_of_level(left, right)) == pytest.approx(2 / 12)


def test_scale_of_a_sample_and_order_of_channels_do_not_matter() -> None:
    s, t = maps(5), maps(7, 1)
    scale = torch.tensor([0.1, 30.0]).reshape(2, 1, 1, 1)
    torch.testing.assert_close(at_of_level(s * scale, t), at_of_level(s, t))
    torch.testing.assert_close(at_of_level(s[:, [3, 0, 4, 2, 1]], t), at_of_level(s, t))
    assert float(at_of_level(t[:, [6, 5, 4, 3, 2, 1, 0]] * 2, t)) == pytest.approx(0, abs=1e-15)


def test_equals_the_reference_in_value_and_gradient() -> None:
    s, t = maps(5).requires_grad_(), maps(7, 1)
    ours, theirs = at_of_level(s, t), at_reference.at_of_level(s, t)
    assert deviation(ours, [s], theirs, [s]) < 1e-10


@pytest.mark.parametrize("student", ["retinanet", "gfl", "faster"])
def test_what_is_trained_equals_the_reference(student: str) -> None:
    assert parity(student) < 1e-5


def test_a_map_of_zeros_is_finite() -> None:
    s = torch.zeros(2, 3, 2, 2, requires_grad=True)
    value = at_of_level(s, torch.zeros(2, 4, 2, 2))
    value.backward()
    assert float(value.detach()) == 0
    assert s.grad is not None
    assert torch.equal(s.grad, torch.zeros_like(s))


@pytest.mark.parametrize("name", tiny_detectors.NAMES)
def test_every_detector_is_taught_through_its_neck(name: str) -> None:
    play = stage("at", name, size=64)
    found = touched(play.model, play.terms()["att"])
    assert any(n.startswith("student.backbone") for n in found)
    assert not any("head" in n for n in found)


@pytest.mark.parametrize("counts", [(3, 0), (0, 0)])
def test_images_without_boxes(counts: tuple[int, ...]) -> None:
    losses = stage("at", counts=counts, size=64).losses()
    value = losses["loss_kd_at_att"]
    value.backward()
    assert torch.isfinite(value)
    assert float(value.detach()) == pytest.approx(1000 * float(losses["kd_at_att_raw"]))


def test_student_equals_teacher_gives_zero() -> None:
    play = stage("at", same=True, pad=0)
    play.model.eval()  # one network, one mode
    assert float(play.terms()["att"].detach()) == pytest.approx(0, abs=1e-12)


def test_a_teacher_of_another_family_teaches_and_strides_choose() -> None:
    play = stage("at", "gfl", "faster", levels=(8, 16), size=64)
    assert float(play.terms()["att"].detach()) > 0
    assert [note.split(":")[0] for note in play.method.notes] == ["stride 8", "stride 16"]
    with pytest.raises(InputError, match=r"no level of stride 128 in the student.*closest that both have"):
        stage("at", levels=(128,))


def test_weight_zero_computes_nothing() -> None:
    play = stage("at", beta=0.0)
    assert play.terms() == {}
    assert not play.method.needs.detector


def test_sights_are_unit_maps_of_both_on_every_level() -> None:
    play = stage("at", size=64)
    found = play.method.visualize(play.view())
    assert [sight.heat.shape for sight in found] == [(2, side, side) for side in (16, 16, 8, 8, 4, 4)]
    assert all(float(sight.heat.flatten(1).norm(dim=1).sum()) == pytest.approx(2) for sight in found)
    assert not any(sight.heat.requires_grad for sight in found)
