"""Step on, ramp, decay and stop, alone and in the wrapper: an idle method costs nothing and leaves DDP whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from c2d.core.errors import InputError
from c2d.distillation.weight_schedule import check_schedule, weight_factor
from c2d.methods.base import Params
from tests.c2d.methods.tiny_setup import stage


@pytest.mark.parametrize(
    ("params", "wanted"),
    [
        ({}, [1, 1, 1, 1, 1]),
        ({"start": 2}, [0, 0, 1, 1, 1]),
        ({"ramp": 4}, [0, 0.25, 0.5, 0.75, 1]),
        ({"start": 1, "ramp": 2}, [0, 0, 0.5, 1, 1]),
        ({"decay": "linear"}, [1, 0.8, 0.6, 0.4, 0.2]),  # the first is 1, the last 1/N
        ({"stop": 3}, [1, 1, 1, 0, 0]),
        ({"start": 1, "stop": 4, "decay": "linear"}, [0, 0.8, 0.6, 0.4, 0]),
    ],
)
def test_by_hand_over_five_iterations(params: dict[str, Any], wanted: list[float]) -> None:
    assert [weight_factor(Params(**params), i, 5) for i in range(5)] == pytest.approx(wanted)


def test_the_cosine_is_half_way_down_in_the_middle() -> None:
    assert [weight_factor(Params(decay="cosine"), i, 4) for i in (0, 2)] == pytest.approx([1, 0.5])


@given(
    some.builds(
        Params,
        start=some.integers(0, 50),
        ramp=some.integers(0, 50),
        decay=some.sampled_from(["none", "linear", "cosine"]),
        stop=some.none() | some.integers(1, 100),
    ),
    some.integers(0, 99),
)
def test_a_factor_is_a_share(params: Params, iteration: int) -> None:
    assert 0 <= weight_factor(params, iteration, 100) <= 1


def test_a_schedule_that_never_applies_is_refused() -> None:
    with pytest.raises(InputError, match=r"fgfi starts at iteration 400, but the run has 300.*method\.fgfi\.start"):
        check_schedule("fgfi", Params(start=400), 300)
    with pytest.raises(InputError, match="would never teach"):
        check_schedule("frs", Params(start=9, ramp=5), 10)
    with pytest.raises(InputError, match="stops at iteration 5 and starts at 5"):
        check_schedule("fgfi", Params(start=5, stop=5), 300)


def test_an_idle_method_runs_no_teacher_and_keeps_its_weights_in_the_sum() -> None:
    play = stage("fitnets", start=2, weight=3.0)
    play.model.teachers.detector.network.forward = play.model.teachers.detector.network.extract_feat = None
    losses = play.losses()
    assert [key for key in losses if "kd" in key] == ["loss_kd_fitnets_idle"]
    assert float(losses["loss_kd_fitnets_idle"].detach()) == 0
    losses["loss_kd_fitnets_idle"].backward()
    assert all(weight.grad is not None for weight in play.method.parameters())


def test_the_weight_of_a_method_multiplies_all_its_terms() -> None:
    once, thrice = stage("fitnets"), stage("fitnets", weight=3.0, ramp=10)
    thrice.model.iteration = once.model.iteration = 5
    plain, heavy = once.losses(), thrice.losses()
    torch.testing.assert_close(heavy["loss_kd_fitnets_hint"], plain["loss_kd_fitnets_hint"] * 1.5)
    assert torch.equal(heavy["kd_fitnets_hint_raw"], plain["kd_fitnets_hint_raw"])
    assert float(heavy["kd_fitnets_factor"]) == 1.5
