"""`c2d suggest-weight`: compare the gradient of each term with the task's, and propose weights for a sweep.

A few hundred steps are trained in memory, with every method on from the first of them (schedules of weights are
ignored), and at intervals the gradients of the task and of each raw term are compared on the student's weights. A term
of weight w pulls with w |g_kd| / |g_task| times the task's pull; the grid proposes the weights at which that share is a
tenth, a third and one. The rule is ours: published settings lie between (with a share far above one the student learns
the teacher's features and not the task; one far below is noise).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from mmengine.optim import build_optim_wrapper

from c2d.core.errors import InputError
from c2d.detectors.mmdet_scope import mmdet_scope
from c2d.distillation.gradient_monitor import GradientMonitor
from c2d.ops.seeding import derive_seed, seed_everything
from c2d.training.build import TrainingRun
from c2d.training.optimization import optimization_config

SHARES = (0.1, 0.3, 1.0)
"""Pulls to propose, as a share of the task's."""


class TermGradient(NamedTuple):
    """Gradient of one term beside the task's, over the observed steps.

    Attributes:
        method, term: names.
        parameter: that weighs the term.
        weight: value of that parameter.
        ratios: norm of the term's gradient over the task's where `parameter` is 1; the method's common `weight` is part
            of it.
        cosines: of the angle between the two gradients.
    """

    method: str
    term: str
    parameter: str
    weight: float
    ratios: tuple[float, ...]
    cosines: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Median |g_kd| / |g_task| where the parameter is 1."""
        return statistics.median(self.ratios)


class Suggestion(NamedTuple):
    """A grid for one parameter, with the numbers it follows from.

    Attributes:
        gradient: of the term.
        grid: proposed values of the parameter; empty where the term has no gradient.
        share: pull at the weight of the spec, as a share of the task's.
    """

    gradient: TermGradient
    grid: tuple[float, ...]
    share: float


def suggest(gradient: TermGradient, shares: Sequence[float] = SHARES) -> Suggestion:
    """Compute the weights at which the term pulls `shares` times as hard as the task, rounded to two digits."""
    ratio = gradient.ratio
    if not ratio > 0 or not math.isfinite(ratio):
        return Suggestion(gradient, (), 0.0)
    grid = tuple(_two_digits(share / ratio) for share in shares)
    return Suggestion(gradient, grid, gradient.weight * ratio)


def _two_digits(value: float) -> float:
    return float(f"{value:.1e}")


def measure_gradients(
    run: TrainingRun, steps: int, every: int, report: Callable[[int, dict[str, float]], None]
) -> list[TermGradient]:
    """Train some steps in memory and compare the gradients.

    Args:
        run: built, in training mode.
        steps: number of steps.
        every: steps between two observations.
        report: called with (step, observations) at each of them.

    Raises:
        InputError: the run has no method.
    """
    model = run.model
    if not getattr(model, "distillers", None):
        raise InputError("this spec has no method, so there is no weight to suggest; give one with `method`")
    with mmdet_scope():
        wrapper = build_optim_wrapper(model, optimization_config(run.spec.training)[0])
    model.gradient_monitor = GradientMonitor(every)
    model.at_full_weight()  # a method that starts late, or rises slowly, is measured as well
    rows: dict[str, list[dict[str, float]]] = {}
    for step, (inputs, samples) in enumerate(run.batches(steps)):
        model.iteration = step  # the methods' own random numbers follow from it
        _set_learning_rate(wrapper, run, step)
        seed_everything(derive_seed(run.spec.seed, step, 0, 3))  # as `Trainer.step` on rank 0
        with wrapper.optim_context(model):
            losses = model(inputs, samples, mode="loss")
        total, log = model.parse_losses(losses)
        wrapper.update_params(total)
        if model.gradient_monitor.due(step):
            observations = {key: float(value.detach()) for key, value in log.items()}
            report(step, observations)
            for name, row in _rows(observations):
                rows.setdefault(name, []).append(row)
    return [_term_gradient(model, name, observed) for name, observed in rows.items()]


def _rows(observations: dict[str, float]) -> Iterator[tuple[str, dict[str, float]]]:
    task = observations["kd_task_grad"]
    for key, value in observations.items():
        if key.endswith("_cosine") and task > 0:  # every term has one cosine
            name = key.removesuffix("_cosine")
            yield name, {"ratio": observations[f"{name}_grad"] / task, "cosine": value}


def _term_gradient(model: Any, name: str, rows: list[dict[str, float]]) -> TermGradient:
    # The longest name first, because the name of a method may begin that of another.
    method, term = next(
        (method, name.removeprefix(f"kd_{method}_"))
        for method in sorted(model.distillers, key=len, reverse=True)
        if name.startswith(f"kd_{method}_")
    )
    distiller = model.distillers[method]
    parameter = distiller.WEIGHTS.get(term, "weight")
    weight = float(getattr(distiller.params, parameter) or 0.0)
    common = 1.0 if parameter == "weight" else distiller.params.weight
    ratios = tuple(row["ratio"] * common for row in rows)
    return TermGradient(method, term, parameter, weight, ratios, tuple(row["cosine"] for row in rows))


def _set_learning_rate(wrapper: Any, run: TrainingRun, step: int) -> None:
    """The schedule's linear warm-up; later milestones are beyond a few hundred steps."""
    schedule = run.spec.training
    warmup = schedule.warmup
    factor = 1.0
    if warmup.iterations and step < warmup.iterations:
        factor = warmup.factor + (1 - warmup.factor) * step / warmup.iterations
    for group in wrapper.optimizer.param_groups:
        group["lr"] = schedule.optimizer.lr * factor


def table(suggestions: Sequence[Suggestion]) -> str:
    """Format the proposal with the numbers it follows from."""
    lines = ["every method is on from the first step at its full weight; start, ramp, decay and stop are ignored"]
    if any(len(one.gradient.ratios) < 5 for one in suggestions):
        lines.append("fewer than five observations, all of them early: take more steps before you rely on this")
    for one in suggestions:
        gradient = one.gradient
        cosine = statistics.median(gradient.cosines)
        lines.append(f"{gradient.method}: {gradient.term}")
        if not one.grid:
            lines.append("  gave the student no gradient in any observed step: no weight makes it teach")
            continue
        low, high = min(gradient.ratios), max(gradient.ratios)
        lines += [
            f"  at {gradient.parameter} 1 its gradient is {gradient.ratio:.3g} times the task's (median of "
            f"{len(gradient.ratios)} observations, {low:.3g} to {high:.3g}); cosine to the task's {cosine:+.2f}",
            f"  {gradient.parameter} is {gradient.weight:g} here, a pull of {one.share:.2g}. {_verdict(one.share)}",
            f"  try  method.{gradient.method}.{gradient.parameter}: [{', '.join(f'{w:g}' for w in one.grid)}]"
            f"   (pulls of {', '.join(f'{s:g}' for s in SHARES)})",
        ]
        if cosine < -0.2:
            lines.append("  it pulls against the task: expect a smaller weight to be better, or let it decay")
    return "\n".join(lines)


def _verdict(share: float) -> str:
    if share < 0.03:
        return "Almost without effect."
    return "Stronger than the task itself." if share > 2 else "Within the usual range."
