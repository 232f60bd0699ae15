"""FLOPs that a distillation method adds to a training step beside the detectors' own passes, counted on real steps.

The method's terms run on a small noise image (a student and teacher with random weights), forward and backward to what
they were given: maps, head outputs and boxes are cut off from the detectors, whose passes `network_flops` counts.
A method without a detector teacher works on crops: `truth` is its work for a ground-truth box, `positive` that for a
positive, from two steps with different numbers of positives. Any other works on maps: `linear` and `quadratic` are its
work per pixel and squared pixel, from two image sizes (attention between all cells of a map is quadratic).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.flops.training_flops import Work, WorkCounter
from benchmarks.hours.synthetic_step import noise_batch

SHAPES = ((128, 128), (128, 256))
"""Heights and widths in px: maps of every stride up to 128 double from one to the next."""
QUADRATIC = 0.01
"""Share of the second step that must be left over after the linear part, to count as quadratic: fewer or more sampled
boxes change the work a little, and a small difference would be multiplied by the square of the image's size."""
REPEATED = 4
Views = dict[tuple[Any, ...], list[Any]]
"""{(student, detector teacher, needs, stages): views at the shapes}: methods that need the same share them."""


@dataclass(frozen=True)
class MethodFlops:
    """FLOPs of one method in an image.

    Attributes:
        truth, positive: for a ground-truth box, and for a positive of the student.
        linear, quadratic: per pixel, and per squared pixel, of the padded image.
        operators: of a step.
        note: why nothing could be counted; "" where it was.
    """

    truth: float = 0.0
    positive: float = 0.0
    linear: float = 0.0
    quadratic: float = 0.0
    operators: int = 0
    note: str = ""

    def of_image(self, truths: float, positives: float, pixels: float) -> float:
        """Return the FLOPs for one image.

        Args:
            truths, positives: their mean numbers.
            pixels: mean area in px^2.
        """
        maps = self.linear * pixels + self.quadratic * pixels**2
        return self.truth * truths + self.positive * positives + maps


def method_flops(
    model: Any, num_classes: int, fixed_size: int | None, shared: Views | None = None
) -> dict[str, MethodFlops]:
    """Count every method of a model.

    Args:
        model: `Distillation` on the CPU, in training mode.
        num_classes: of the student.
        fixed_size: side of the only images that the student takes (SSD); None: any.
        shared: views of earlier calls, to which those of this call are added; the detectors must still exist.

    Returns:
        {method: FLOPs}.
    """
    for method in model.methods.values():
        # Tables of the training set are made between the steps, and there is none here.
        method.refresh = None
    shapes = SHAPES if fixed_size is None else ((fixed_size, fixed_size),)
    views = _views(model, shapes, num_classes, {} if shared is None else shared)
    found = {}
    for name, method in model.methods.items():
        try:
            found[name] = _on_maps(method, views, shapes) if method.needs.detector else _on_crops(method, views[0])
        except Exception as error:  # terms may want what an untrained teacher or an empty data set does not give
            found[name] = MethodFlops(note=f"{name}: its own terms are not counted ({type(error).__name__}: {error})")
    return found


def step_operators(student: Any, num_classes: int, fixed_size: int | None) -> int:
    """Count the operators of a step of a student without methods, on a small noise image.

    Args:
        student: an mmdet detector on the CPU, in training mode.
        num_classes: of the student.
        fixed_size: as in `method_flops`.
    """
    inputs, samples = noise_batch(*((fixed_size, fixed_size) if fixed_size else SHAPES[0]), num_classes)
    with WorkCounter() as counter:
        total, _ = student.parse_losses(student.loss(inputs, samples))
        total.backward()
    student.zero_grad(set_to_none=True)
    return counter.work().operators


def _views(model: Any, shapes: Sequence[tuple[int, int]], num_classes: int, shared: Views) -> list[Any]:
    """What the methods see of a noise image of each shape; its classifier is that of this model."""
    methods, teachers = model.methods.values(), model.teachers
    needs = frozenset((method.needs, method.roi_stages) for method in methods)
    key = (id(model.student), id(getattr(teachers.detector, "network", None)), needs)
    if key not in shared:
        batches = [noise_batch(*shape, num_classes) for shape in shapes]
        shared[key] = [model.view(inputs, samples) for inputs, samples in batches]
    return [
        dataclasses.replace(view, classifier=teachers.classifier, detector=teachers.detector) for view in shared[key]
    ]


def _on_maps(method: Any, views: Sequence[Any], shapes: Sequence[tuple[int, int]]) -> MethodFlops:
    works = [_terms_work(method, view) for view in views]
    flops, operators = [work.flops for work in works], works[-1].operators
    pixels = [height * width for height, width in shapes]
    if len(works) == 1:
        return MethodFlops(linear=flops[0] / pixels[0], operators=operators)
    left = flops[1] - flops[0] * pixels[1] / pixels[0]
    if left < QUADRATIC * flops[1]:
        return MethodFlops(linear=flops[1] / pixels[1], operators=operators)
    quadratic = left / (pixels[1] ** 2 - pixels[0] * pixels[1])
    return MethodFlops(linear=flops[0] / pixels[0] - quadratic * pixels[0], quadratic=quadratic, operators=operators)


def _on_crops(method: Any, view: Any) -> MethodFlops:
    """Count the positives of one ground truth, once and repeated: the difference is the work for a positive."""
    few = [_of_first_truth(stage, 1) for stage in view.positives]
    many = [_of_first_truth(stage, REPEATED) for stage in view.positives]
    counts = [len(stages[-1].boxes) for stages in (few, many)]
    if not counts[0]:
        return MethodFlops(note="the student has no positive on a noise image; work on crops is not counted")
    works = [_terms_work(method, dataclasses.replace(view, positives=stages)) for stages in (few, many)]
    positive = (works[1].flops - works[0].flops) / (counts[1] - counts[0])
    truth = works[0].flops - positive * counts[0]
    return MethodFlops(truth=truth, positive=positive, operators=works[0].operators)


def _of_first_truth(stage: Any, repeats: int) -> Any:
    rows = ((stage.image == 0) & (stage.gt == stage.gt[:1].sum())).nonzero().flatten().repeat(repeats)
    kept = {name: getattr(stage, name)[rows] for name in ("logits", "boxes", "image", "gt")}
    prior = stage.prior[rows] if stage.prior is not None else None
    return dataclasses.replace(stage, **kept, prior=prior, per_image=(len(rows),))


def _terms_work(method: Any, view: Any) -> Work:
    """Work of a method's terms, forward and backward to what it is given."""
    own = cut_off(view)
    own.generator = torch.Generator().manual_seed(0)
    method.train()
    with WorkCounter() as counter:
        terms, _ = method(own)
        parts = [value * weight for value, weight in terms.values() if value.requires_grad]
        if parts:
            torch.stack(parts).sum().backward()
        return counter.work()


def cut_off(value: Any) -> Any:
    """Return a copy of a view, or a part of it, whose tensors are leaves: no backward pass reaches the detectors."""
    if isinstance(value, Tensor):
        return value.detach().requires_grad_(value.requires_grad)
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return tuple(cut_off(one) for one in value)
    if isinstance(value, list):
        return [cut_off(one) for one in value]
    if isinstance(value, dict):
        return {key: cut_off(one) for key, one in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.replace(
            value, **{f.name: cut_off(getattr(value, f.name)) for f in dataclasses.fields(value)}
        )
    return value
