"""Read the parts of an mmdet config that a student has: its model, its training and its test pipeline."""

from __future__ import annotations

from typing import Any

from mmengine import Config
from mmengine.config import ConfigDict

from c2d.core.errors import InputError

# Transforms that read other images of the data set: they cannot be part of a pipeline for one image.
MIXING = {"Mosaic", "MixUp", "CopyPaste", "YOLOXMixUp"}


def model_and_pipelines(
    source: Config, name: str, *, own: bool
) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """Return plain copies of (model, train_pipeline, test_pipeline).

    Args:
        source: a shipped student, or any mmdet config.
        name: its name or path, for the messages.
        own: True for a config in the form of the shipped students, whose pipelines are top-level keys; others are read
            where mmdet reads them, in the data loaders, through wrappers such as RepeatDataset.

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
    return to_plain(source["model"]), to_plain(train), to_plain(test)


def to_plain(node: Any) -> Any:
    """Copy a config into dicts, lists, tuples and scalars, without the `_scope_` of mmdet's own files."""
    if isinstance(node, (dict, ConfigDict)):
        return {str(key): to_plain(value) for key, value in node.items() if not (key == "_scope_" and value == "mmdet")}
    if isinstance(node, list):
        return [to_plain(value) for value in node]
    if isinstance(node, tuple):
        return tuple(to_plain(value) for value in node)
    return node


def _pipeline(source: Config, kind: str, name: str) -> list[dict[str, Any]]:
    loaders = [f"{kind}_dataloader", *(["val_dataloader"] if kind == "test" else [])]
    for loader in loaders:
        dataset = (source.get(loader) or {}).get("dataset")
        if dataset is not None:
            found = _unwrapped(dataset, name)
            if found:
                return found
    if source.get(f"{kind}_pipeline"):
        return list(source[f"{kind}_pipeline"])
    raise InputError(
        f"'{name}' has no {kind} pipeline: neither {loaders[0]}.dataset.pipeline nor {kind}_pipeline is set"
    )


def _unwrapped(dataset: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the pipeline of a data set and of the wrappers around it, from the image file outwards."""
    inner = dataset.get("dataset") or next(iter(dataset.get("datasets") or ()), None)
    steps = _unwrapped(inner, name) if inner is not None else []
    for step in dataset.get("pipeline") or ():
        if str(step.get("type")) in MIXING:
            raise InputError(
                f"'{name}' trains on several images at once ({step['type']}), which an exact resume forbids; "
                "copy the config and give it a train_dataloader whose pipeline works on one image"
            )
        steps = [*steps, step]
    return steps
