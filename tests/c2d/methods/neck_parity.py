"""Methods on neck maps, in fp32 as trained, against a slow reference in fp64: one staged step of each."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from c2d.detectors.outputs import DetectorOutputs
from tests.c2d.methods.tiny_setup import deviation, stage

SIZE = 48
"""Side of the images: the references visit every cell."""

Reference = Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]


def neck_parity(
    method: str, term: str, maps: str, reference: Reference, student: str = "retinanet", **params: Any
) -> float:
    """The larger relative deviation of a term and of its gradient with respect to the student's maps and phi's weights.

    Args:
        maps: name of the method's `FeatureAdapter`.
        reference: (adapted student maps, teacher maps) -> the raw term.
    """
    play = stage(method, student, size=SIZE, **params)
    view = play.view()

    def leaves(dtype: torch.dtype) -> list[Tensor]:
        return [m.detach().to(dtype).requires_grad_() for m in view.student.neck]

    fast, slow = leaves(torch.float32), leaves(torch.float64)
    view.student = replace(view.student, neck=tuple(fast))
    ours = play.method(view)[0][term].value
    phi = getattr(play.method, maps)
    exact = copy.deepcopy(phi).double()
    teacher = DetectorOutputs(neck=tuple(m.double() for m in view.teacher.neck))
    adapted = exact(DetectorOutputs(neck=tuple(slow)), teacher)
    theirs = reference([s for s, _ in adapted], [t for _, t in adapted])
    assert ours.dtype == torch.float32
    assert theirs.dtype == torch.float64
    return deviation(ours, [*fast, *phi.parameters()], theirs, [*slow, *exact.parameters()])
