"""Read the parts of an mmdet config that a student has: its model, its training and its test pipeline."""

from __future__ import annotations

from typing import Any

from mmengine import Config

from c2d.configs.dataset_tree import one_pipeline
from c2d.configs.image_mixing import refuse_mixing
from c2d.configs.plain_config import to_plain
from c2d.core.errors import InputError


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
        InputError: no model, no pipeline, or a pipeline that mixes several images.
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
    return to_plain(source["model"]), to_plain(train), to_plain(test)


def _pipeline(source: Config, kind: str, name: str) -> list[dict[str, Any]]:
    loaders = (f"{kind}_dataloader", *(("val_dataloader",) if kind == "test" else ()))
    if found := one_pipeline(source, loaders, f"'{name}'"):
        return found
    if source.get(f"{kind}_pipeline"):
        return list(source[f"{kind}_pipeline"])
    raise InputError(
        f"'{name}' has no {kind} pipeline: neither {loaders[0]}.dataset.pipeline nor {kind}_pipeline is set"
    )
