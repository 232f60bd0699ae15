"""Cache of a classifier teacher's logits for ground-truth crops, on disk: for training without augmentation only.

An unchanged crop has the same logits in every epoch, so the teacher computes them once. The key of an entry is the
SHA-256 of everything that the logits depend on: the teacher's weights and normalization, the bytes of the image file,
the box in px of the batch tensor, the size of the crop, the precision, and the training pipeline with the student's
normalization. A pipeline with random transforms is an error, because crops would change from epoch to epoch.

Each process appends its entries to a file of its own (`DIR/<context>/<host>-<pid>-<random>.logits`), so several runs
and ranks can share a folder; a checksum drops entries that were half written when a process died. All entries of a
context are kept in memory: 4 bytes per class and box (COCO: 275 MB).
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
DETERMINISTIC_TRANSFORMS = (
    "LoadImageFromFile", "LoadAnnotations", "FilterAnnotations", "Resize", "FixShapeResize", "Pad", "PackDetInputs",
)  # fmt: skip
"""Transforms of mmdet without randomness. `RandomFlip` with prob 0 is allowed too."""

Compute = Callable[[list[int]], Tensor]
"""Row indices (n of K) -> their logits (n, C)."""


class LogitCache:
    """Logits by key, in memory and in a folder.

    Args:
        folder: of the entries; created with the first one.
        context: everything that entries depend on and that is constant in a run; JSON-serializable.
        classes: C, logits per entry.

    Attributes:
        requests, hits: numbers of logits requested, and of those that were stored already, in this process.
    """

    def __init__(self, folder: Path, context: Mapping[str, Any], classes: int) -> None:
        self.context = hashlib.sha256(_json({"format": FORMAT, "classes": classes, **context})).digest()
        self.folder, self.classes = Path(folder) / self.context.hex()[:16], classes
        self.requests = self.hits = 0
        self._images: dict[str, bytes] = {}
        # V32, not S32: numpy drops zero bytes at the end of a string.
        self._record = np.dtype([("key", "V32"), ("logits", "<f4", (classes,)), ("crc", "<u4")])
        self._entries: dict[bytes, np.ndarray] = {}
        self._file: Path | None = None
        self._read()

    def __len__(self) -> int:
        return len(self._entries)

    def logits(self, paths: Sequence[str], boxes: Tensor, view: str, compute: Compute) -> Tensor:
        """Return the logits of boxes; those that are missing are computed and stored.

        Args:
            paths: K entries, the image file of each box.
            boxes: (K, 4) xyxy, px of the batch tensor.
            view: what logits depend on besides the context: crop size and precision.
            compute: computes the missing logits.

        Returns:
            (K, C) fp32, on the device of `boxes`.
        """
        keys = [self._key(path, box.tobytes(), view) for path, box in zip(paths, _rows(boxes), strict=True)]
        missing = [row for row, key in enumerate(keys) if key not in self._entries]
        self.requests, self.hits = self.requests + len(keys), self.hits + len(keys) - len(missing)
        if missing:
            self._add([keys[row] for row in missing], _rows(compute(missing)))
        rows = np.stack([self._entries[key] for key in keys]) if keys else np.zeros((0, self.classes), np.float32)
        return torch.from_numpy(rows).to(boxes.device)

    def summary(self) -> str:
        """Describe the hit rate in this process, for the log."""
        share = f"{self.hits / self.requests:.1%}" if self.requests else "no requests"
        return f"teacher cache {self.folder}: {self.hits} of {self.requests} crops found ({share}), {len(self)} stored"

    def _key(self, path: str, box: bytes, view: str) -> bytes:
        if path not in self._images:
            self._images[path] = hashlib.sha256(Path(path).read_bytes()).digest()
        return hashlib.sha256(self.context + self._images[path] + box + view.encode()).digest()

    def _add(self, keys: Sequence[bytes], logits: np.ndarray) -> None:
        records = np.zeros(len(keys), self._record)
        for record, key, row in zip(records, keys, logits, strict=True):
            record["key"], record["logits"] = np.void(key), row
            record["crc"] = zlib.crc32(key + row.tobytes())
            self._entries[key] = row.copy()
        # A name of its own per process: appending needs no lock, on network file systems too.
        if self._file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = self.folder / f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}.logits"
        with self._file.open("ab") as stream:
            stream.write(records.tobytes())

    def _read(self) -> None:
        for path in sorted(self.folder.glob("*.logits")):
            raw = path.read_bytes()
            # A process that died may have left a part of a record at the end of its file.
            whole = len(raw) // self._record.itemsize
            for record in np.frombuffer(raw, self._record, whole):
                key, row = record["key"].tobytes(), record["logits"]
                if zlib.crc32(key + row.tobytes()) == record["crc"]:
                    self._entries[key] = row.copy()


def check_deterministic(dataset: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> None:
    """Check that the crops of a box are the same in every epoch.

    Args:
        dataset: config of the training data set, with its pipeline.
        preprocessor: config of the student's data preprocessor.

    Raises:
        InputError: the pipeline has a transform that may be random, or drops the path of the image.
    """
    allowed = f"{', '.join(DETERMINISTIC_TRANSFORMS)}, RandomFlip with prob 0"
    advice = f"a cache of teacher logits needs the same crops every time ({allowed}); train without --cache-teacher"
    if dataset.get("type") != "CocoDataset":
        raise InputError(f"the training data is a {dataset.get('type')}, which may mix images; {advice}")
    if dataset.get("closing_pipeline"):
        raise InputError(f"the training ends with a closing_pipeline, which changes crops; {advice}")
    for transform in dataset["pipeline"]:
        name = str(transform["type"]) if isinstance(transform["type"], str) else transform["type"].__name__
        if name in DETERMINISTIC_TRANSFORMS or (name == "RandomFlip" and transform.get("prob") == 0):
            keys = transform.get("meta_keys")
            if name == "PackDetInputs" and keys is not None and "img_path" not in keys:
                raise InputError(
                    "PackDetInputs drops img_path, which the teacher cache needs; add img_path to meta_keys"
                )
            continue
        raise InputError(f"the training pipeline has {name}, which changes crops from epoch to epoch; {advice}")
    if preprocessor.get("batch_augments"):
        raise InputError(f"the student's data preprocessor has batch_augments; {advice}")


def open_cache(folder: Path, teacher: Any, dataset: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> LogitCache:
    """Open the cache of a teacher for one training pipeline, and set it as `teacher.cache`.

    Args:
        folder: of all caches; new or used before.
        teacher: a `ClassifierTeacher`.
        dataset: config of the training data set, with its pipeline.
        preprocessor: config of the student's data preprocessor.

    Raises:
        InputError: the teacher is an ensemble, the pipeline is random, or the folder is a file.
    """
    if members := getattr(teacher, "members", ()):
        raise InputError(
            f"--cache-teacher stores the logits of one classifier, and the teacher of this run is an ensemble of "
            f"{len(members)}; leave the option out"
        )
    check_deterministic(dataset, preprocessor)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--cache-teacher {folder} is a file; give a folder, new or used before")
    context = {
        "teacher": weights_digest(teacher.module),
        "pixels": [list(teacher.normalization.mean), list(teacher.normalization.std), teacher.normalization.order],
        "pipeline": [{**step, "type": str(step["type"])} for step in dataset["pipeline"]],
        "preprocessor": dict(preprocessor),
    }
    if teacher.temperature != 1:  # entries of teachers that were not calibrated keep their keys
        context["temperature"] = teacher.temperature
    teacher.cache = LogitCache(folder, context, len(teacher.classes))
    return teacher.cache


def weights_digest(module: nn.Module) -> str:
    """Return the SHA-256 of a module's tensors with their names, and of its structure."""
    # `repr` lists layers and their options, which equal tensors do not determine (e.g. a stride).
    digest = hashlib.sha256(repr(module).encode())
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes() if value.dim() else
                      str(value.item()).encode())  # fmt: skip
    return digest.hexdigest()


def _rows(tensor: Tensor) -> np.ndarray:
    rows: np.ndarray = np.ascontiguousarray(tensor.detach().float().cpu().numpy(), "<f4")
    return rows


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, default=repr).encode()
