"""Methods on students with object queries: feature maps and positives teach them, methods on dense heads do not."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from c2d.core.errors import InputError
from c2d.distillation.build_methods import build_distillation
from c2d.distillation.wrapper import Distillation, TeacherSet
from c2d.specs.catalog import method_catalog
from c2d.specs.method_schema import resolve_method
from c2d.teachers.detector import DetectorTeacher
from tests.c2d import tiny_detectors, tiny_query_detectors
from tests.c2d.tiny_teacher import TinyTeacher

ON_MAPS = ["fitnets", "at", "cwd", "mgd", "pkd", "fgd"]


def taught(student: str, method: str, teacher: str | None = None, **params: Any) -> Distillation:
    """A tiny student under one method, built as a run is, with a detector teacher where one is named."""
    spec: Any = SimpleNamespace(
        has_steps=True,
        training=SimpleNamespace(iterations=1000, batch=2),
        method=resolve_method([{method: params}], method_catalog()),
        seed=0,
    )
    network = tiny_query_detectors.build(teacher, seed=1) if teacher in tiny_query_detectors.NAMES else None
    if teacher is not None and network is None:
        network = tiny_detectors.build(teacher, seed=1)
    classifier: Any = TinyTeacher(size=48)
    classifier.module = classifier.network  # the gradient check looks at its weights
    teachers = TeacherSet(classifier, DetectorTeacher(network) if network is not None else None)
    return build_distillation(spec, tiny_query_detectors.build(student), teachers, tiny_detectors.NUM_CLASSES,
                              soft_labels=True).train()  # fmt: skip


def step(model: Distillation) -> dict[str, Any]:
    """One step, with an image without boxes and padding; every term has a gradient in the student's neck."""
    inputs, samples = tiny_detectors.sample(2, 96, [3, 0], pad=8)
    torch.manual_seed(7)
    losses = model.loss(inputs, copy.deepcopy(samples))
    for name, value in losses.items():
        if name.startswith("loss_kd"):
            assert torch.isfinite(value)
            weights = [*model.student.neck.parameters()]
            grads = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True)
            assert sum(float(grad.abs().sum()) for grad in grads if grad is not None) > 0, name
    return losses


@pytest.mark.parametrize("method", ON_MAPS)
@pytest.mark.parametrize(("student", "teacher"), [("dino", "dino"), ("sparse", "sparse"), ("dino", "retinanet")])
def test_methods_on_feature_maps(method: str, student: str, teacher: str) -> None:
    losses = step(taught(student, method, teacher))
    assert [name for name in losses if name.startswith(f"loss_kd_{method}")]


@pytest.mark.parametrize("student", tiny_query_detectors.NAMES)
def test_icod_teaches_the_matched_queries(student: str) -> None:
    """Those of the last layer, or of all: two layers have twice as many."""
    sizes: dict[str, Any] = {"layers": ["crop", "l0", "l1"], "size": 48}
    for stages, count in (("last", 3), ("all", 6)):
        losses = step(taught(student, "icod", roi_stages=stages, **sizes))
        assert float(losses["kd_icod_positives"]) == count
        assert {"loss_kd_icod_cls", "loss_kd_icod_crop", "loss_kd_icod_feat"} <= set(losses)


@pytest.mark.parametrize("student", ["detr", "dino", "sparse"])
def test_soft_labels_teach_the_positives_of_every_layer(student: str) -> None:
    losses = step(taught(student, "soft_labels"))
    assert float(losses["kd_soft_labels_positives"]) == 3 * tiny_query_detectors.LAYERS
    assert "loss_kd_soft_labels_soft" in losses


@pytest.mark.parametrize("student", ["dino", "sparse"])
def test_methods_on_other_heads_are_refused_when_a_run_is_built(student: str) -> None:
    family = {"dino": "dino", "sparse": "sparse-rcnn"}[student]
    for method in ("gid", "fgfi", "chen"):
        with pytest.raises(InputError, match=f"{method} does not teach {family} students; it teaches ") as caught:
            taught(student, method, student)
        assert "\n" not in str(caught.value)
