"""CWD: paper and pencil, the slow reference, student equals teacher, an image without boxes."""

from __future__ import annotations

import math

import pytest
import torch

from c2d.core.errors import InputError
from c2d.methods.cwd import cwd_of_level
from tests.c2d import tiny_detectors
from tests.c2d.methods.neck_parity import Reference, neck_parity
from tests.c2d.methods.tiny_setup import deviation, stage, touched, without_adapters
from tests.reference import cwd_reference


def parity(student: str = "retinanet") -> float:
    """Largest relative deviation of the trained term and its gradient from the reference."""

    def reference(tau: float, form: str) -> Reference:
        return lambda s, t: cwd_reference.cwd(s, t, tau=tau, form=form)

    return max(
        neck_parity("cwd", "cwd", "phi", reference(tau, form), student, tau=tau, form=form)
        for tau, form in ((1.0, "kl"), (2.0, "ce"))
    )


def maps(seed: int = 0) -> torch.Tensor:
    return torch.randn(2, 5, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_two_positions_by_hand() -> None:
    s, t = torch.zeros(1, 1, 1, 2), torch.tensor([math.log(3.0), 0.0]).reshape(1, 1, 1, 2)
    kl = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert float(cwd_of_level(s, t)) == pytest.approx(kl, rel=1e-6)
    assert float(cwd_of_level(s, t, form="ce")) == pytest.approx(math.log(2), rel=1e-6)
    assert float(cwd_of_level(2 * s, 2 * t, tau=2.0)) == pytest.approx(4 * kl, rel=1e-6)


@pytest.mark.parametrize(("tau", "form"), [(1.0, "kl"), (3.0, "kl"), (0.5, "ce")])
def test_equals_the_reference_in_value_and_gradient(tau: float, form: str) -> None:
    s, t = maps().requires_grad_(), maps(1)
    ours, theirs = cwd_of_level(s, t, tau, form), cwd_reference.cwd_of_level(s, t, tau=tau, form=form)
    assert deviation(ours, [s], theirs, [s]) < 1e-10


@pytest.mark.parametrize("student", ["retinanet", "gfl", "faster"])
def test_what_is_trained_equals_the_reference(student: str) -> None:
    assert parity(student) < 1e-5


def test_both_forms_have_one_gradient_and_differ_by_the_entropy() -> None:
    s, t = maps().requires_grad_(), maps(1)
    kl, ce = cwd_of_level(s, t, 2.0), cwd_of_level(s, t, 2.0, "ce")
    torch.testing.assert_close(torch.autograd.grad(kl, s), torch.autograd.grad(ce, s))
    torch.testing.assert_close((ce - kl).detach(), cwd_of_level(t, t, 2.0, "ce"))


def test_constants_of_a_channel_and_joint_permutations_do_not_matter() -> None:
    s, t = maps(), maps(1)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    shuffled = (m.flatten(2)[:, :, order].unflatten(2, (3, 4)) for m in (s, t))
    torch.testing.assert_close(cwd_of_level(s + maps(2)[:, :, :1, :1], t), cwd_of_level(s, t))
    torch.testing.assert_close(cwd_of_level(*shuffled), cwd_of_level(s, t))


def test_an_extreme_channel_is_finite() -> None:
    t = torch.zeros(1, 1, 2, 2)
    t[0, 0, 0, 0] = 1e4
    s = (-t).requires_grad_()
    value = cwd_of_level(s, t)
    value.backward()
    assert torch.isfinite(value)
    assert s.grad is not None
    assert torch.isfinite(s.grad).all()


@pytest.mark.parametrize("name", tiny_detectors.NAMES)
def test_every_detector_is_taught_through_its_neck(name: str) -> None:
    play = stage("cwd", name, size=64)
    found = touched(play.model, play.terms()["cwd"])
    assert any(n.startswith("student.backbone") for n in found)
    assert not any("head" in n for n in found)
    assert any(n.startswith("distillers.cwd.phi") for n in found) == (name != "ssd")  # widths differ


@pytest.mark.parametrize("counts", [(3, 0), (0, 0)])
def test_images_without_boxes(counts: tuple[int, ...]) -> None:
    losses = stage("cwd", counts=counts, size=64).losses()
    value = losses["loss_kd_cwd_cwd"]
    value.backward()
    assert torch.isfinite(value)
    assert float(value.detach()) == pytest.approx(10 * float(losses["kd_cwd_cwd_raw"]))


@pytest.mark.parametrize("form", ["kl", "ce"])
def test_student_equals_teacher_gives_zero_or_the_entropy(form: str) -> None:
    play = without_adapters(stage("cwd", same=True, pad=0, form=form))
    play.model.eval()  # one network, one mode
    view = play.view()
    log_p = [t.flatten(2).log_softmax(2) for t in view.teacher.neck]
    entropy = sum(float(-(p.exp() * p).sum(2).mean()) for p in log_p)
    assert float(play.terms()["cwd"].detach()) == pytest.approx(entropy if form == "ce" else 0, rel=1e-5, abs=1e-6)


def test_a_convolution_only_where_widths_differ() -> None:
    assert list(stage("cwd", wide=False).method.parameters()) == []
    assert "16 -> 24 channels by a 1x1 convolution" in stage("cwd").method.notes[0]


def test_a_teacher_of_another_family_teaches_and_strides_choose() -> None:
    play = stage("cwd", "faster", "fcos", levels=(4,), size=64)
    assert float(play.terms()["cwd"].detach()) > 0
    assert len(play.method.notes) == 1
    with pytest.raises(InputError, match="no level of stride 32"):
        stage("cwd", levels=(8, 32))


def test_weight_zero_computes_nothing() -> None:
    play = stage("cwd", lambda_cwd=0.0)
    assert play.terms() == {}
    assert list(play.method.parameters()) == []
    assert not play.method.needs.detector
