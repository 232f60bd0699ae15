"""Read the parts of an mmdet config that a student has: its model, its training and its test pipeline."""

from __future__ import annotations

import inspect
from typing import Any

from mmengine import Config

from c2d.configs.dataset_tree import one_pipeline
from c2d.configs.image_mixing import names_used, refuse_mixing
from c2d.configs.plain_config import to_plain
from c2d.core.errors import InputError
from c2d.detectors.mmdet_scope import mmdet_scope


def model_and_pipelines(
    source: Config, name: str, *, own: bool, shipped: bool
) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """Return plain copies of (model, train_pipeline, test_pipeline).

    Args:
        source: a shipped student, or any mmdet config.
        name: its name or path, for the messages.
        own: True for a config in the form of the shipped students, whose pipelines are top-level keys; others are read
            where mmdet reads them, in the data loaders, through wrappers such as RepeatDataset.
        shipped: True for a shipped student, whose steps a test checks, so that mmdet need not be imported here.

    Raises:
        InputError: no model, no pipeline, a pipeline that mixes several images, or a model that needs its own loop.
    """
    if not isinstance(source.get("model"), dict) or "type" not in source["model"]:
        raise InputError(f"'{name}' has no `model`: a student is an mmdet detector config")
    if own:
        train, test = source["train_pipeline"], source["test_pipeline"]
    else:
        train = _pipeline(source, "train", name)
        test = _pipeline(source, "test", name)
    if not shipped:
        refuse_mixing(train, f"'{name}'")
        _refuse_own_loop(source["model"], name)
    return to_plain(source["model"]), to_plain(train), to_plain(test)


def _refuse_own_loop(model: Any, name: str) -> None:
    """Refuse models with a teacher of their own, and augmentations that read the state of mmengine's Runner."""
    if taught := sorted(key for key in model if key.startswith("teacher")):
        raise InputError(
            f"'{name}' brings a teacher of its own ({', '.join(taught)}); give the config of its student alone, and "
            "distil with a method of this suite (`c2d methods`)"
        )
    with mmdet_scope():
        from mmdet.registry import MODELS

        for step in (model.get("data_preprocessor") or {}).get("batch_augments") or ():
            kind = MODELS.get(step["type"]) if isinstance(step["type"], str) else step["type"]
            if inspect.isclass(kind) and "MessageHub" in names_used(kind):
                raise InputError(
                    f"'{name}' resizes batches by the iteration that mmengine's Runner counts ({kind.__name__}), and a "
                    "run here has no Runner; copy the config without it, or resize in its train pipeline (RandomResize)"
                )


def _pipeline(source: Config, kind: str, name: str) -> list[dict[str, Any]]:
    loaders = (f"{kind}_dataloader", *(("val_dataloader",) if kind == "test" else ()))
    if found := one_pipeline(source, loaders, f"'{name}'"):
        return found
    if source.get(f"{kind}_pipeline"):
        return list(source[f"{kind}_pipeline"])
    raise InputError(
        f"'{name}' has no {kind} pipeline: neither {loaders[0]}.dataset.pipeline nor {kind}_pipeline is set"
    )
