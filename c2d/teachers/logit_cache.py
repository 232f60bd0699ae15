"""What a classifier teacher said about ground-truth crops, kept on disk: for training without augmentation only.

A crop that is shown again unchanged gets the same logits again, so KD_cls need not ask the teacher twice. The key of an
entry is the SHA-256 of everything the logits follow from: the teacher's weights and its normalisation, the bytes of the
image file, the box in pixels of the batch, the size of the crop, the precision, and the training pipeline with the
student's normalisation. A pipeline with anything random in it is refused: crops would change from look to look.

Entries are appended to a file of each process (`DIR/<context>/<host>-<pid>-<random>.logits`), so several runs and ranks
may share a folder; what was half written when a process died is skipped by its checksum. All entries of a context are
held in memory: 4 bytes a class for each box (COCO: 275 MB).
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from c2d.core.errors import InputError

FORMAT = 1
SAME_EACH_TIME = (
    "LoadImageFromFile", "LoadAnnotations", "FilterAnnotations", "Resize", "FixShapeResize", "Pad", "PackDetInputs",
)  # fmt: skip
"""Transforms of mmdet that do the same to an image every time. `RandomFlip` with prob 0 is allowed too."""

Compute = Callable[[list[int]], Tensor]


class LogitCache:
    """Logits by key, in memory and in a folder.

    Args:
        folder: where entries lie; made when the first is written.
        context: everything that entries follow from and that stays the same in a run; JSON can hold it.
        classes: logits of an entry.
    """

    def __init__(self, folder: Path, context: Mapping[str, Any], classes: int) -> None:
        self.context = hashlib.sha256(_json({"format": FORMAT, "classes": classes, **context})).digest()
        self.folder, self.classes = Path(folder) / self.context.hex()[:16], classes
        self.asked = self.hits = 0
        self._images: dict[str, bytes] = {}
        self._record = np.dtype([("key", "V32"), ("logits", "<f4", (classes,)), ("crc", "<u4")])
        self._known: dict[bytes, np.ndarray] = {}
        self._mine: Path | None = None
        self._read()

    def __len__(self) -> int:
        return len(self._known)

    def logits(self, paths: Sequence[str], boxes: Tensor, view: str, compute: Compute) -> Tensor:
        """(K, C) fp32 of boxes (K, 4), on their device; the teacher is asked for the unknown ones only.

        Args:
            paths: (K,) the image file of each box.
            view: how crops are made and shown beside the context: their size, the precision.
            compute: rows (of K) -> their logits (n, C).
        """
        keys = [self._key(path, box.tobytes(), view) for path, box in zip(paths, _rows(boxes), strict=True)]
        unknown = [row for row, key in enumerate(keys) if key not in self._known]
        self.asked, self.hits = self.asked + len(keys), self.hits + len(keys) - len(unknown)
        if unknown:
            self._add([keys[row] for row in unknown], _rows(compute(unknown)))
        found = np.stack([self._known[key] for key in keys]) if keys else np.zeros((0, self.classes), np.float32)
        return torch.from_numpy(found).to(boxes.device)

    def summary(self) -> str:
        """How often the teacher had not to be asked, in this process."""
        share = f"{self.hits / self.asked:.1%}" if self.asked else "no crop was asked for"
        return f"teacher cache {self.folder}: {self.hits} of {self.asked} crops were known ({share}), {len(self)} kept"

    def _key(self, path: str, box: bytes, view: str) -> bytes:
        if path not in self._images:
            self._images[path] = hashlib.sha256(Path(path).read_bytes()).digest()
        return hashlib.sha256(self.context + self._images[path] + box + view.encode()).digest()

    def _add(self, keys: Sequence[bytes], logits: np.ndarray) -> None:
        records = np.zeros(len(keys), self._record)
        for record, key, row in zip(records, keys, logits, strict=True):
            record["key"], record["logits"] = np.void(key), row
            record["crc"] = zlib.crc32(key + row.tobytes())
            self._known[key] = row.copy()
        if self._mine is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._mine = self.folder / f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}.logits"
        with self._mine.open("ab") as stream:
            stream.write(records.tobytes())

    def _read(self) -> None:
        for path in sorted(self.folder.glob("*.logits")):
            raw = path.read_bytes()
            whole = len(raw) // self._record.itemsize
            for record in np.frombuffer(raw, self._record, whole):
                key, row = record["key"].tobytes(), record["logits"]
                if zlib.crc32(key + row.tobytes()) == record["crc"]:
                    self._known[key] = row.copy()


def check(dataset: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> None:
    """Refuse what would make a cache wrong.

    Args:
        dataset: config of the training data set, with its pipeline.
        preprocessor: config of the student's data preprocessor.

    Raises:
        InputError: a transform that is not on the list of those that do the same each time.
    """
    allowed = f"{', '.join(SAME_EACH_TIME)}, RandomFlip with prob 0"
    advice = f"a cache of teacher logits needs the same crops every time ({allowed}); train without --cache-teacher"
    if dataset.get("type") != "CocoDataset":
        raise InputError(f"the training data is a {dataset.get('type')}, which may mix images; {advice}")
    for transform in dataset["pipeline"]:
        name = str(transform["type"]) if isinstance(transform["type"], str) else transform["type"].__name__
        if name in SAME_EACH_TIME or (name == "RandomFlip" and transform.get("prob") == 0):
            keys = transform.get("meta_keys")
            if name == "PackDetInputs" and keys is not None and "img_path" not in keys:
                raise InputError(
                    "PackDetInputs leaves out img_path, by which a cache knows images; add it to meta_keys"
                )
            continue
        raise InputError(f"the training pipeline has {name}, which changes crops from look to look; {advice}")
    if preprocessor.get("batch_augments"):
        raise InputError(f"the student's data preprocessor has batch_augments; {advice}")


def open_cache(folder: Path, teacher: Any, dataset: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> LogitCache:
    """The cache of a `ClassifierTeacher` under one training pipeline, see `check`; it is given to the teacher.

    Raises:
        InputError: the pipeline is random, or the folder is a file.
    """
    check(dataset, preprocessor)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--cache-teacher {folder} is a file; give a folder, new or used before")
    context = {
        "teacher": weights_digest(teacher.module),
        "pixels": [list(teacher.normalization.mean), list(teacher.normalization.std), teacher.normalization.order],
        "pipeline": [{**step, "type": str(step["type"])} for step in dataset["pipeline"]],
        "preprocessor": dict(preprocessor),
    }
    teacher.cache = LogitCache(folder, context, len(teacher.classes))
    return teacher.cache


def weights_digest(module: nn.Module) -> str:
    """SHA-256 of a module's tensors under their names, and of its structure."""
    digest = hashlib.sha256(repr(module).encode())
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes() if value.dim() else
                      str(value.item()).encode())  # fmt: skip
    return digest.hexdigest()


def _rows(tensor: Tensor) -> np.ndarray:
    found: np.ndarray = np.ascontiguousarray(tensor.detach().float().cpu().numpy(), "<f4")
    return found


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, default=repr).encode()
