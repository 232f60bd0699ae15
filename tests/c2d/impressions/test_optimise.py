"""Optimisation of pixels: priors by hand, only the pixels change, the targets appear in what the teacher sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from c2d.core.errors import InputError, RunError
from c2d.detectors.normalization import IMAGENET, Normalization
from c2d.impressions.pixels.optimise import Optimisation, input_range, to_uint8
from c2d.impressions.pixels.priors import BatchNormStatistics, total_variation
from c2d.impressions.pixels.teacher_losses import TeacherLosses
from c2d.impressions.sampling.targets import Targets, empty_targets
from c2d.specs.impressions_schedule import ImpressionsSchedule
from c2d.teachers.detector import DetectorTeacher
from tests.c2d import tiny_detectors

PRESETS = Path(__file__).parents[3] / "c2d" / "configs" / "impressions"


def schedule(preset: str = "moi", **changes: Any) -> ImpressionsSchedule:
    values = yaml.safe_load((PRESETS / f"{preset}.yaml").read_text())
    for key, value in changes.items():
        values[key] = values[key] | value if isinstance(value, dict) else value
    return ImpressionsSchedule.model_validate(values)


def one_object() -> Targets:
    return Targets(torch.tensor([[0.2, 0.2, 0.6, 0.7]]), torch.tensor([1]), torch.tensor([[0.1, 0.8, 0.1]]))


def optimisation(
    teacher: DetectorTeacher, losses: TeacherLosses, targets: list[Targets], **changes: Any
) -> Optimisation:
    recipe = schedule(**changes)
    statistics = BatchNormStatistics(teacher.network)
    return Optimisation(
        teacher, losses, statistics if statistics.layers else None, recipe, "final", targets, 64, (0, 0), None, "cpu"
    )


def test_total_variation_by_hand() -> None:
    constant = torch.full((2, 3, 5, 5), 7.0)
    assert total_variation(constant, 1) == total_variation(constant, 2) == 0
    step = torch.tensor([[0.0, 3.0], [0.0, 3.0]]).expand(1, 3, 2, 2)  # no change downwards, 3 to the right
    assert total_variation(step, 1) == 3
    assert total_variation(step, 2) == 9


def test_statistics_by_hand() -> None:
    layer = nn.BatchNorm2d(1).eval()
    layer.running_mean[:], layer.running_var[:] = 1.0, 4.0  # type: ignore[index]
    values = torch.tensor([2.0, 4.0]).reshape(2, 1, 1, 1)  # mean 3, variance 1
    expected = {"absolute": 2.0 + 3.0, "relative": 2.0 / 2 + 0.5}
    for form, distance in expected.items():
        for factor in (1.0, 2.0):
            prior = BatchNormStatistics(layer, form, factor)
            with prior.recorded():
                layer(values)
            assert float(prior.distance()) == pytest.approx(distance * factor)


def test_calls_of_a_shared_layer_count_as_one_pass() -> None:
    layer = nn.BatchNorm2d(2).eval()
    parts = [torch.randn(3, 2, 4, 4), torch.randn(3, 2, 2, 2) + 1]
    joined = torch.cat([part.permute(1, 0, 2, 3).flatten(1) for part in parts], 1).T.reshape(-1, 2, 1, 1)
    together, apart = BatchNormStatistics(layer), BatchNormStatistics(layer)
    with apart.recorded():
        for part in parts:
            layer(part)
    with together.recorded():
        layer(joined)
    assert float(apart.distance()) == pytest.approx(float(together.distance()), rel=1e-5)


@pytest.mark.parametrize("family", ["retinanet", "faster"])
def test_the_detection_loss_falls_and_nothing_but_the_pixels_changes(family: str) -> None:
    teacher = DetectorTeacher(tiny_detectors.build(family))
    before = {name: value.clone() for name, value in teacher.network.state_dict().items()}
    with TeacherLosses(teacher, soft_labels=True) as losses:
        work = optimisation(
            teacher, losses, [one_object(), one_object()],
            final={"iterations": 25, "lr": 0.1, "noise": 1.0}, priors={"batch_norm": 0, "tv_l1": 0, "l2": 0},
            augmentation={"jitter": 0, "flip": False, "interval": 25},
        )  # fmt: skip
        found = [float(work.step()["loss_detection"]) for _ in range(25)]
    assert found[-1] < 0.8 * found[0]
    assert all(torch.equal(value, before[name]) for name, value in teacher.network.state_dict().items())
    assert all(parameter.grad is None for parameter in teacher.network.parameters())
    assert work.images.grad is not None
    assert not teacher.network.training


def test_an_image_without_targets_is_optimised_as_well() -> None:
    teacher = DetectorTeacher(tiny_detectors.build("faster"))
    with TeacherLosses(teacher, soft_labels=True) as losses:
        work = optimisation(teacher, losses, [empty_targets(3)], final={"iterations": 3})
        terms = work.step()
    assert all(bool(value.isfinite()) for value in terms.values())


def test_weights_of_zero_leave_their_terms_out() -> None:
    teacher = DetectorTeacher(tiny_detectors.build("retinanet"))
    off = {"tv_l1": 0, "tv_l2": 2.0, "l2": 0, "detection": 0.5}
    with TeacherLosses(teacher) as losses:
        terms = optimisation(teacher, losses, [one_object()], priors=off).step()
    assert set(terms) == {"loss", "loss_detection", "loss_batch_norm", "loss_tv_l2"} - (
        set() if BatchNormStatistics(teacher.network).layers else {"loss_batch_norm"}
    )
    assert float(terms["loss"]) == pytest.approx(sum(float(v) for k, v in terms.items() if k != "loss"))


def test_the_learning_rate_follows_half_a_cosine() -> None:
    teacher = DetectorTeacher(tiny_detectors.build("retinanet"))
    with TeacherLosses(teacher) as losses:
        work = optimisation(teacher, losses, [one_object()], final={"iterations": 4, "lr": 1.0})
        rates = []
        while not work.is_done:
            work.step()
            rates.append(work.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1.0, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2])


def test_a_loss_that_is_not_finite_stops_the_run() -> None:
    teacher = DetectorTeacher(tiny_detectors.build("retinanet"))
    with TeacherLosses(teacher) as losses:
        work = optimisation(teacher, losses, [one_object()])
        with torch.no_grad():
            work.images[:] = float("nan")
        with pytest.raises(RunError, match="not finite after 0 steps"):
            work.step()


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_pixels_survive_the_way_to_the_file_and_back(order: Any) -> None:
    normalization = Normalization(IMAGENET.mean, IMAGENET.std, order)
    low, high = input_range(normalization)
    assert to_uint8(low.expand(1, 3, 2, 2), normalization).max() == 0
    assert to_uint8(high.expand(1, 3, 2, 2), normalization).min() == 255
    red = low.clone()
    red[0 if order == "rgb" else 2] = high[0 if order == "rgb" else 2]
    assert to_uint8(red.expand(1, 3, 1, 1), normalization)[0, 0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("preset", ["moi", "moi-small", "diode", "two-phase"])
def test_presets_are_valid_schedules(preset: str) -> None:
    assert schedule(preset).images_from == "optimised"


def test_an_objective_without_terms_is_refused() -> None:
    nothing = {"detection": 0, "tv_l1": 0, "tv_l2": 0, "l2": 0}
    with pytest.raises(ValueError, match="every weight is 0"):
        schedule(priors=nothing | {"batch_norm": 0})
    teacher = DetectorTeacher(tiny_detectors.build("retinanet"))
    recipe = schedule(priors=nothing | {"batch_norm": 1}, final={"iterations": 2})
    with TeacherLosses(teacher) as losses:
        work = Optimisation(teacher, losses, None, recipe, "final", [one_object()], 64, (0, 0), None, "cpu")
        with pytest.raises(InputError, match="no term is left without prior batch_norm"):
            work.step()


def test_too_many_objects_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 100 in an image"):
        schedule(targets={"objects": [1, 1_000_000]})
