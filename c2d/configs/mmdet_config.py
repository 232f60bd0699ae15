"""Read the parts of an mmdet config that a student has: its model, its pipelines and its closing phase."""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

from mmengine import Config

from c2d.configs.closing_phase import closing_phase
from c2d.configs.dataset_tree import one_pipeline
from c2d.configs.image_mixing import names_used, resolve_mixing
from c2d.configs.plain_config import to_plain
from c2d.core.errors import InputError
from c2d.detectors.mmdet_scope import mmdet_scope


class StudentParts(NamedTuple):
    """Plain copies of what a student has.

    Attributes:
        model: config of the model.
        train: the training pipeline; steps that mix images have `partner_steps`.
        test: the test pipeline.
        closing: (pipeline, share of the iterations) of the closing phase; None where there is none.
    """

    model: dict[str, Any]
    train: list[dict[str, Any]]
    test: list[dict[str, Any]]
    closing: tuple[list[dict[str, Any]], float] | None


def student_parts(source: Config, name: str, *, own: bool, shipped: bool) -> StudentParts:
    """Read the parts of a student.

    Args:
        source: a shipped student, or any mmdet config.
        name: its name or path, for the messages.
        own: True for a config in the form of the shipped students, whose pipelines are top-level keys; others are read
            where mmdet reads them, in the data loaders, through wrappers such as RepeatDataset.
        shipped: True for a shipped student, whose steps a test checks, so that mmdet need not be imported here.

    Raises:
        InputError: no model, no pipeline, a pipeline that mixes images in a way that cannot be repeated, or a model
            that needs its own loop.
    """
    if not isinstance(source.get("model"), dict) or "type" not in source["model"]:
        raise InputError(f"'{name}' has no `model`: a student is an mmdet detector config")
    partner_steps: list[int | None] = []
    if own:
        train, test = source["train_pipeline"], source["test_pipeline"]
    else:
        train, partner_steps = _pipeline(source, "train", name)
        test, _ = _pipeline(source, "test", name)
    train = resolve_mixing(to_plain(train), f"'{name}'", shipped=shipped, partner_steps=partner_steps)
    closing = closing_phase(source, train, name, own=own)
    if closing is not None:
        closing = resolve_mixing(to_plain(closing[0]), f"'{name}', closing pipeline", shipped=shipped), closing[1]
    if not shipped:
        _refuse_own_loop(source["model"], name)
    return StudentParts(to_plain(source["model"]), train, to_plain(test), closing)


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
            # BatchSyncRandomResize is made a function of the iteration, see `c2d.detectors.iteration_resize`.
            known = inspect.isclass(kind) and kind.__name__ == "BatchSyncRandomResize"
            if inspect.isclass(kind) and not known and "MessageHub" in names_used(kind):
                raise InputError(
                    f"'{name}' changes batches by the iteration that mmengine's Runner counts ({kind.__name__}), and a "
                    "run here has no Runner; copy the config without it, or use mmdet's BatchSyncRandomResize"
                )


def _pipeline(source: Config, kind: str, name: str) -> tuple[list[dict[str, Any]], list[int | None]]:
    """(steps, for each the number that a wrapper gives: `DatasetNode.partner_steps`)."""
    loaders = (f"{kind}_dataloader", *(("val_dataloader",) if kind == "test" else ()))
    if found := one_pipeline(source, loaders, f"'{name}'"):
        return found.steps, found.partner_steps
    if source.get(f"{kind}_pipeline"):
        return list(source[f"{kind}_pipeline"]), []
    raise InputError(
        f"'{name}' has no {kind} pipeline: neither {loaders[0]}.dataset.pipeline nor {kind}_pipeline is set"
    )
