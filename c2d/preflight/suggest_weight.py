"""`c2d suggest-weight`: how loud is each term beside the task, and which weights are worth a sweep.

A few hundred steps are trained as the question says, in memory only and with every method on from the first of them
(schedules of weights are left out), and every few steps the gradients of the task
and of each raw term are compared on the student's weights. A term of weight w pulls with w |g_kd| / |g_task| times the
task's pull; the grid proposes the weights at which that share is a tenth, a third and one. The rule is ours: published
settings lie between (a share far above one trains the teacher's features and not the task; one far below is noise).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from mmengine.optim import build_optim_wrapper

from c2d.core.errors import InputError
from c2d.distillation.gradient_monitor import Monitor
from c2d.ops.seeding import derive_seed, seed_everything
from c2d.preflight.setup import Trial
from c2d.training import evaluate
from c2d.training.optimization import optimization_config

SHARES = (0.1, 0.3, 1.0)
"""Pulls to propose, as a share of the task's."""


class Loudness(NamedTuple):
    """One term over the steps looked at: norms of its gradient at `parameter` 1 over the task's, cosines, and the value
    that the parameter has. The method's common `weight` is part of the norms."""

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
    """A grid for one parameter, with the numbers it follows from."""

    loudness: Loudness
    grid: tuple[float, ...]
    share: float
    """Pull at the weight of the question, as a share of the task's."""


def suggest(loudness: Loudness, shares: Sequence[float] = SHARES) -> Suggestion:
    """Weights at which the term pulls `shares` times as hard as the task, rounded to two digits."""
    ratio = loudness.ratio
    if not ratio > 0 or not math.isfinite(ratio):
        return Suggestion(loudness, (), 0.0)
    grid = tuple(_two_digits(share / ratio) for share in shares)
    return Suggestion(loudness, grid, loudness.weight * ratio)


def _two_digits(value: float) -> float:
    return float(f"{value:.1e}")


def listen(trial: Trial, steps: int, every: int, say: Callable[[int, dict[str, float]], None]) -> list[Loudness]:
    """Train `steps` in memory and compare gradients every `every` of them.

    Args:
        say: called with (step, observations) at each look.

    Raises:
        InputError: the question has no method.
    """
    model = trial.built.model
    if not getattr(model, "distillers", None):
        raise InputError("this question has no method, so there is no weight to suggest; give one with `method`")
    with evaluate.mmdet_scope():
        wrapper = build_optim_wrapper(model, optimization_config(trial.spec.schedule.values)[0])
    model.monitor = Monitor(every)
    model.at_full_weight()  # a method that begins late, or rises slowly, is to be heard as well
    seen: dict[str, list[dict[str, float]]] = {}
    for step, (inputs, samples) in enumerate(trial.batches(steps)):
        model.iteration = step
        _warm(wrapper, trial, step)
        seed_everything(derive_seed(trial.spec.seed, step, 0, 3))
        with wrapper.optim_context(model):
            losses = model(inputs, samples, mode="loss")
        total, log = model.parse_losses(losses)
        wrapper.update_params(total)
        if model.monitor.due(step):
            numbers = {key: float(value.detach()) for key, value in log.items()}
            say(step, numbers)
            for name, row in _rows(numbers):
                seen.setdefault(name, []).append(row)
    return [_loudness(model, name, rows) for name, rows in seen.items()]


def _rows(numbers: dict[str, float]) -> Iterator[tuple[str, dict[str, float]]]:
    task = numbers["kd_task_grad"]
    for key, value in numbers.items():
        if key.endswith("_cosine") and task > 0:
            name = key.removesuffix("_cosine")
            yield name, {"ratio": numbers[f"{name}_grad"] / task, "cosine": value}


def _loudness(model: Any, name: str, rows: list[dict[str, float]]) -> Loudness:
    method, term = next(
        (method, name.removeprefix(f"kd_{method}_"))
        for method in sorted(model.distillers, key=len, reverse=True)
        if name.startswith(f"kd_{method}_")
    )
    distiller = model.distillers[method]
    parameter = distiller.WEIGHTS.get(term, "weight")
    weight = float(getattr(distiller.params, parameter) or 0.0)
    common = 1.0 if parameter == "weight" else distiller.params.weight
    ratios = tuple(r["ratio"] * common for r in rows)
    return Loudness(method, term, parameter, weight, ratios, tuple(r["cosine"] for r in rows))


def _warm(wrapper: Any, trial: Trial, step: int) -> None:
    """The schedule's linear warm-up; later milestones lie beyond a few hundred steps."""
    schedule = trial.spec.schedule.values
    warm = schedule.warmup
    share = 1.0
    if warm.iterations and step < warm.iterations:
        share = warm.factor + (1 - warm.factor) * step / warm.iterations
    for group in wrapper.optimizer.param_groups:
        group["lr"] = schedule.optimizer.lr * share


def table(suggestions: Sequence[Suggestion]) -> str:
    """The proposal, with its reasoning."""
    lines = ["every method on from the first step, at its whole weight, whatever its start, ramp, decay and stop"]
    if any(len(one.loudness.ratios) < 5 for one in suggestions):
        lines.append("fewer than five looks, all of them early: take more steps before you trust this")
    for one in suggestions:
        heard = one.loudness
        cosine = statistics.median(heard.cosines)
        lines.append(f"{heard.method}: {heard.term}")
        if not one.grid:
            lines.append("  gave the student no gradient in any step looked at: no weight makes it teach")
            continue
        low, high = min(heard.ratios), max(heard.ratios)
        lines += [
            f"  at {heard.parameter} 1 its gradient is {heard.ratio:.3g} times the task's (median of "
            f"{len(heard.ratios)} looks, {low:.3g} to {high:.3g}); cosine to the task's {cosine:+.2f}",
            f"  {heard.parameter} is {heard.weight:g} here, a pull of {one.share:.2g}. {_verdict(one.share)}",
            f"  try  method.{heard.method}.{heard.parameter}: [{', '.join(f'{w:g}' for w in one.grid)}]"
            f"   (pulls of {', '.join(f'{s:g}' for s in SHARES)})",
        ]  # fmt: skip
        if cosine < -0.2:
            lines.append("  it pulls against the task: expect a smaller weight to be better, or let it decay")
    return "\n".join(lines)


def _verdict(share: float) -> str:
    if share < 0.03:
        return "Hardly felt."
    return "Louder than the task itself." if share > 2 else "Within the usual range."
