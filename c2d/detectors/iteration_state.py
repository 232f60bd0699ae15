"""What mmdet's hooks and random draws change in a model during a training, as functions of the iteration.

mmdet keeps such a state in the model's objects, where no checkpoint finds it; a run here continues exactly.
"""

from __future__ import annotations

from typing import Any

from c2d.detectors.mmdet_scope import mmdet_scope


def resize_by_iteration(student: Any, seed: int) -> list[str]:
    """Make the batch sizes of a student's data preprocessor a function of the iteration.

    Args:
        student: mmdet detector; its data preprocessor is changed.
        seed: of the run.

    Returns:
        Notes for the log, empty where it draws no sizes.
    """
    with mmdet_scope():  # mmdet is imported inside it
        from mmdet.models.data_preprocessors import BatchSyncRandomResize

        from c2d.detectors.iteration_resize import IterationResize

    augments, notes = getattr(student.data_preprocessor, "batch_augments", None) or [], []
    for place, augment in enumerate(augments):
        if type(augment) is BatchSyncRandomResize:
            augments[place] = own = IterationResize(augment, seed)
            low, high = (own._size_divisor * cells for cells in own._random_size_range)
            notes.append(
                f"batches are resized to {low}-{high} px every {own._interval} iterations; the size follows from seed "
                "and iteration (mmdet's BatchSyncRandomResize draws it and keeps it)"
            )
    return notes


def set_l1_loss(model: Any, on: bool) -> None:
    """Set the switch of YOLOX's further L1 loss, as mmdet's YOLOXModeSwitchHook does; other heads have none.

    Args:
        model: with an mmdet detector inside.
        on: whether the loss is computed.
    """
    for head in _with_l1_switch(model):
        head.use_l1 = on


def has_l1_switch(student: Any) -> bool:
    """Return whether a head of a detector has YOLOX's further L1 loss."""
    return bool(_with_l1_switch(student))


def _with_l1_switch(model: Any) -> list[Any]:
    return [module for module in model.modules() if isinstance(getattr(module, "use_l1", None), bool)]
