"""A stock mmdet model from its config, and its exported weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine import Config

from c2d.core.errors import InputError, first_line
from c2d.detectors.mmdet_scope import mmdet_scope
from c2d.weights import safe_load
from c2d.weights.audit import Audit


def build_student(config: Config, device: str = "cpu") -> Any:
    """Build the stock student of a config, with the weights its code initialises.

    Args:
        config: with `model`.
        device: `cpu` or `cuda:N`.

    Raises:
        InputError: mmdet cannot build the model.
    """
    with mmdet_scope():
        from mmdet.registry import MODELS

        try:
            # A copy, because some detectors (DINO) write into the config of their head.
            model = MODELS.build(copy.deepcopy(config["model"]))
            # mmdet's constructors leave some parts at torch's own first weights; mmengine's Runner calls this too.
            model.init_weights()
        except (InputError, MemoryError):
            raise
        except Exception as error:  # a config's values reach any code of mmdet and torch, which may raise anything
            raise InputError(
                f"mmdet cannot build the student's model: {first_line(error)}; check its config and the overrides"
            ) from error
    return model.to(device)


def load_student(
    config: Config, weights: Path, device: str = "cpu", content: Mapping[str, Any] | None = None
) -> tuple[Any, Audit]:
    """Build a student and load its weights.

    Args:
        config: with `model`.
        weights: student.pth, or any checkpoint of the model; every key must fit, as under `strict=True`.
        device: `cpu` or `cuda:N`.
        content: of the file, where it was read before.

    Returns:
        (model in eval mode, audit).
    """
    model = build_student(config, device)
    source = weights if content is None else content
    audit = safe_load.load_into(model, source, who="student", strict=True, source_name=str(weights))
    return model.to(device).eval(), audit
