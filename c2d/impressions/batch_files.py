"""Files of a synthesis that is under way: finished batches, and the state of the batch that is being made.

train/000000.png ...                  the images of finished batches
checkpoints/batch_00003.json          targets of a finished batch; written last, so its images are complete
checkpoints/synthesis.pth             state of the next batch
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from c2d.core.disk import disk_error
from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, atomic_write_bytes, atomic_write_json, read_json
from c2d.impressions.images.png_file import write_png
from c2d.impressions.sampling.targets import Targets
from c2d.weights import safe_load

FORMAT = 1
SUM_TOLERANCE = 1e-3
"""Of the sum of a soft label in fp32."""
STATE_KEYS = ("batch", "stage", "start", "optimisation")


def image_name(index: int) -> str:
    """Return the file name of an image in `train`."""
    return f"{index:06d}.png"


def save_batch(
    folder: RunFolder, batch: int, first: int, images: NDArray[np.uint8], targets: Sequence[Targets]
) -> None:
    """Write the images of a batch, then its targets.

    Args:
        folder: the run.
        batch: number of the batch.
        first: index of its first image.
        images: (B, H, W, 3) RGB.
        targets: of each image.
    """
    for index, image in enumerate(images, start=first):
        write_png(folder.train_images / image_name(index), image)
    rows = [
        {"boxes": one.boxes.tolist(), "labels": one.labels.tolist(), "soft_labels": one.soft_labels.tolist()}
        for one in targets
    ]
    atomic_write_json(_batch_file(folder, batch), {"format": FORMAT, "run": folder.id, "images": rows})


def finished_batches(folder: RunFolder, sizes: Sequence[int], num_classes: int) -> list[list[Targets]]:
    """Return the targets of the batches that are finished, in order, up to the first that is not.

    Args:
        folder: the run.
        sizes: images of each of all batches.
        num_classes: columns of the soft labels.

    Raises:
        InputError: a file is damaged, or of another run, or an image of a finished batch is gone.
    """
    found: list[list[Targets]] = []
    for batch, size in enumerate(sizes):
        path = _batch_file(folder, batch)
        if not path.exists():
            break
        content = read_json(path)
        try:
            if content["format"] != FORMAT or content["run"] != folder.id:
                raise ValueError(f"it is of run {content['run']!a:.80}")
            if len(content["images"]) != size:
                raise ValueError(f"it has {len(content['images'])} images, wanted {size}")
            names = [image_name(sum(sizes[:batch]) + place) for place in range(size)]
            if missing := [name for name in names if not (folder.train_images / name).exists()]:
                raise ValueError(f"its image train/{missing[0]} is gone")
            found.append([_targets(row, num_classes) for row in content["images"]])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"{path} cannot be used ({error}); remove it, and its batch is made again") from None
    return found


def save_state(folder: RunFolder, state: dict[str, Any]) -> None:
    """Write the state of the batch that is being made, whole or not at all.

    Args:
        folder: the run.
        state: values of STATE_KEYS.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "run": folder.id, **state}, buffer)
    atomic_write_bytes(_state_file(folder), buffer.getvalue())


def load_state(folder: RunFolder, batch: int, warn: Any = print) -> dict[str, Any] | None:
    """Return the state of a batch, None where there is none; a damaged file counts as none, with a warning.

    Args:
        folder: the run.
        batch: number of the batch that comes next; a state of an earlier one is left over.
        warn: called with a line for a damaged file.

    Raises:
        InputError: the file belongs to another run, or contains code.
    """
    path = _state_file(folder)
    if not path.exists():
        return None
    try:
        state = safe_load.load(path)
    except safe_load.Corrupt as error:
        warn(f"warning: {error}; batch {batch} begins again")
        return None
    if not isinstance(state, dict) or state.get("format") != FORMAT or state.get("run") != folder.id:
        raise InputError(f"{path} is no state of run {folder.id}; remove it, and its batch begins again")
    if any(key not in state for key in STATE_KEYS) or state["batch"] != batch:
        return None
    return dict(state)


def remove_state_files(folder: RunFolder) -> None:
    """Remove what only an unfinished synthesis needs; call it when the run is done, or a kill would cost all batches.

    Raises:
        DiskError: the system refuses.
    """
    try:
        for path in (_state_file(folder), *folder.checkpoints.glob("batch_*.json")):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise disk_error(folder.checkpoints, error) from error


def _batch_file(folder: RunFolder, batch: int) -> Path:
    return folder.checkpoints / f"batch_{batch:05d}.json"


def _state_file(folder: RunFolder) -> Path:
    return folder.checkpoints / "synthesis.pth"


def _targets(row: dict[str, Any], num_classes: int) -> Targets:
    labels = torch.tensor(row["labels"], dtype=torch.long)
    boxes = torch.tensor(row["boxes"], dtype=torch.float32).reshape(len(labels), 4)
    soft = torch.tensor(row["soft_labels"], dtype=torch.float32).reshape(len(labels), num_classes)
    if ((labels < 0) | (labels >= num_classes)).any():
        raise ValueError(f"labels outside 0..{num_classes - 1}")
    if not ((boxes >= 0) & (boxes <= 1)).all() or not (boxes[:, 2:] >= boxes[:, :2]).all():  # also where NaN
        raise ValueError("boxes outside 0..1")
    if not ((soft >= 0) & ((soft.sum(1, keepdim=True) - 1).abs() < SUM_TOLERANCE)).all():
        raise ValueError("soft labels that are no distributions")
    return Targets(boxes, labels, soft)
