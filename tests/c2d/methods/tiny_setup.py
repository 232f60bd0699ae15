"""A tiny student under one detector-to-detector method, with a tiny detector teacher: one step in milliseconds.

`stage("fgfi", "retinanet")` builds both and a batch of two images, the second without boxes. With `same=True` the
teacher has the student's very weights; `without_adapters` then makes every phi the identity.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from c2d.detectors.outputs import DetectorOutputs
from c2d.detectors.recording.layout import probe_layout
from c2d.distillation.build_methods import build_methods, method_parameters
from c2d.distillation.wrapper import Distillation, TeacherSet
from c2d.methods.base import Context, Distiller, View
from c2d.ops.adapters import FeatureAdapter
from c2d.teachers.detector import DetectorTeacher
from tests.c2d import tiny_detectors, tiny_query_detectors

WIDE = 24
"""Channels of a teacher's pyramid; the student's has 16."""


@dataclass
class Stage:
    """A student under instruction and a batch for it."""

    model: Distillation
    inputs: Tensor
    samples: Any

    @property
    def method(self) -> Any:
        """The only method."""
        (method,) = self.model.distillers.values()
        return method

    def losses(self, seed: int = 0) -> dict[str, Any]:
        """One `loss` of the wrapper; RoI sampling follows from `seed`."""
        torch.manual_seed(seed)
        return self.model.loss(self.inputs, copy.deepcopy(self.samples))

    def view(self, seed: int = 0) -> View:
        """What the method sees."""
        torch.manual_seed(seed)
        return self.model.view(self.inputs, copy.deepcopy(self.samples))

    def terms(self, seed: int = 0) -> dict[str, Tensor]:
        """Raw terms of the method."""
        found, _ = self.method(self.view(seed))
        return {name: term.value for name, term in found.items()}


def stage(method: str | dict[str, dict[str, Any]], student: str = "retinanet", teacher: str | None = None, *,
          counts: tuple[int, ...] = (3, 0), size: int = 96, seed: int = 0, pad: int = 8, same: bool = False,
          wide: bool = True, iterations: int = 1000, samples: Any = None, **params: Any) -> Stage:  # fmt: skip
    """Student, teacher and batch.

    Args:
        method: its name, with `params`; or several as {name: params}.
        teacher: the family, by default the student's.
        counts: boxes of each image.
        same: the teacher is a copy of the student.
        wide: the teacher's pyramid has `WIDE` channels (families with a neck).
        samples: for methods that look at the whole training set.
    """
    taught = build(student, seed)
    network = copy.deepcopy(taught) if same else teaching(teacher or student, wide, seed + 1)
    detector = DetectorTeacher(network)
    context = Context(
        tiny_detectors.NUM_CLASSES,
        None,
        detector,
        taught,
        probe_layout(taught),
        probe_layout(network),
        iterations,
        samples,
        soft_labels=True,
    )
    given = [{method: params}] if isinstance(method, str) else [{name: p} for name, p in method.items()]
    method_parameters(given)  # refused here, as a run would be
    built = build_methods(given, context, seed)
    model = Distillation(taught, built, TeacherSet(detector=detector), tiny_detectors.NUM_CLASSES, seed, iterations)
    inputs, truth = tiny_detectors.sample(len(counts), size, counts, seed, pad=pad)
    return Stage(model.train(), inputs, truth)


def build(name: str, seed: int) -> nn.Module:
    """A tiny detector of any family, also of those with object queries."""
    if name in tiny_query_detectors.NAMES:
        return tiny_query_detectors.build(name, seed=seed)
    return tiny_detectors.build(name, seed=seed)


def teaching(name: str, wide: bool, seed: int) -> nn.Module:
    """A tiny detector with a wider pyramid, where it has one."""
    if not wide or name == "ssd" or name in tiny_query_detectors.NAMES:
        return build(name, seed)
    config = tiny_detectors.config(name)
    config.neck.out_channels = WIDE
    for part in (config.get("bbox_head"), config.get("rpn_head")):
        if part is not None:
            part.in_channels = WIDE
    if "roi_head" in config:
        config.roi_head.bbox_roi_extractor.out_channels = WIDE
        heads = config.roi_head.bbox_head
        for head in heads if isinstance(heads, list) else [heads]:
            head.in_channels = WIDE
    torch.manual_seed(seed)
    detector: nn.Module = tiny_detectors.MODELS.build(config)
    return detector


def without_adapters(stage: Stage) -> Stage:
    """Every phi becomes the identity; student and teacher need the same widths."""
    for module in stage.method.modules():
        if isinstance(module, FeatureAdapter):
            module.phi = nn.ModuleList(nn.Identity() for _ in module.phi)
    return stage


def view_of(student: list[Tensor], teacher: list[Tensor], batch: Any, **parts: Any) -> View:
    """A view of given neck maps of both, finest first."""
    seen = DetectorOutputs(neck=tuple(student)), DetectorOutputs(neck=tuple(teacher))
    return View(batch, [], None, None, torch.Generator().manual_seed(0), *seen, **parts)


def touched(model: nn.Module, value: Tensor) -> set[str]:
    """Names of the weights that a value gives a gradient."""
    model.zero_grad()
    value.backward(retain_graph=True)
    return {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}


def deviation(ours: Tensor, at: Sequence[Tensor], theirs: Tensor, there: Sequence[Tensor]) -> float:
    """The larger relative deviation of a value and of its gradient (with respect to maps `at`) from a reference's."""

    def sides(value: Tensor, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        grads = torch.autograd.grad(value, list(maps), retain_graph=True)
        return value.detach().double().reshape(1), torch.cat([grad.double().flatten() for grad in grads])

    pairs = zip(sides(ours, at), sides(theirs, there), strict=True)
    return float(torch.stack([(a - b).norm() / b.norm() for a, b in pairs]).max())  # nan where nothing is compared


__all__ = ["Distiller", "Stage", "deviation", "stage", "teaching", "touched", "view_of", "without_adapters"]
