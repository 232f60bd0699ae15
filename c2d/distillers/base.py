"""What every distiller is: parameters in, a view of one training step in, named loss terms out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from c2d.batch import Batch
from c2d.positives import Positives

if TYPE_CHECKING:
    from c2d.teachers.classifier import ClassifierTeacher


class Term(NamedTuple):
    """One trained loss term: raw scalar in fp32, with its graph, and the weight it enters the sum with."""

    value: Tensor
    weight: float


@dataclass
class View:
    """One training step as a distiller sees it. `generator` (CPU) follows from seed, iteration and rank."""

    batch: Batch
    positives: list[Positives]
    classifier: ClassifierTeacher | None
    detector: Any
    generator: torch.Generator


class Params(BaseModel):
    """Base of every method's parameters: immutable, and an unknown name is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Context(NamedTuple):
    """What is known when a distiller is built, before the optimizer and DDP are."""

    num_classes: int
    classifier: ClassifierTeacher | None = None
    detector: Any = None
    student: nn.Module | None = None


class Distiller(nn.Module):
    """A method. `forward(view)` returns trained terms and observations (scalars without a graph); see the wrapper."""

    NAME: ClassVar[str]
    VERSION: ClassVar[int]
    TEACHERS: ClassVar[tuple[str, ...]]
    NEEDS_POSITIVES: ClassVar[bool]
    Params: ClassVar[type[Params]]
