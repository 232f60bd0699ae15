"""A stock student as something to time: its files, its images, and every stage as a method of its own.

The stages, in order: `read` (decode files), `preprocess` (test pipeline and normalisation, on the CPU), `to_device`,
`model` (raw outputs, see `benchmarks.latency.network`), `post` (score threshold and NMS of evaluation). `end_to_end` is all of
them. A backend replaces `model` alone.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.backends import Call
from benchmarks.latency.network import Network, split
from c2d.core.errors import InputError, first_line
from c2d.detectors import compat


@dataclass(frozen=True)
class Batch:
    """inputs: (B, 3, H, W) float32, normalised, padded to the largest of the batch. samples: mmdet's, one an image."""

    inputs: Tensor
    samples: list[Any]


@dataclass(frozen=True)
class Detections:
    """Of one image, on the CPU: boxes (n, 4) xyxy in pixels of the original image, scores (n,), labels (n,)."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor


class Subject:
    """A stock config with its exported weights on a device, in eval mode. Made by `load`."""

    def __init__(
        self,
        config: Any,
        checkpoint: Path,
        detector: Any,
        device: torch.device,
        size: tuple[int, int] | None,
        work: Path,
    ) -> None:
        from benchmarks.latency import pipeline

        self.config, self.checkpoint, self.device, self.workspace = config, checkpoint, device, work
        self.detector = detector
        steps = config["test_dataloader"]["dataset"]["pipeline"]
        self.size = size or pipeline.size_of(steps)
        """(height, width) that the test pipeline scales images to; batches may be smaller or padded."""
        self.resized = self.size != pipeline.size_of(steps)
        """Whether `size` is not the config's own."""
        self._reader, self._steps = pipeline.build(pipeline.at_size(steps, self.size))
        self._preprocessor = copy.deepcopy(detector.data_preprocessor).cpu()
        self.network: Network = split(detector, torch.zeros(1, 3, *self.padded, device=device))

    @property
    def score_threshold(self) -> float | None:
        """Detections below it are dropped before NMS, as in evaluation; None where the detector has none."""
        config = self.detector.test_cfg or {}
        return (config.get("rcnn") or config).get("score_thr")

    @property
    def padded(self) -> tuple[int, int]:
        """(height, width) of a batch of images that fill `size`."""
        divisor = getattr(self._preprocessor, "pad_size_divisor", 1)
        height, width = (-(-side // divisor) * divisor for side in self.size)
        return height, width

    @cached_property
    def dataset(self) -> Any:
        """mmdet's data set of the config's `test_dataloader`: `get_data_info(i)` has img_path and img_id."""
        from benchmarks.latency import pipeline

        return pipeline.dataset(self.config)

    def images(self, count: int) -> list[Path]:
        """`count` image files spread evenly over the validation set (all, where it has fewer)."""
        total = len(self.dataset)
        chosen = range(total) if count >= total else (index * total // count for index in range(count))
        return [Path(self.dataset.get_data_info(index)["img_path"]) for index in chosen]

    def read(self, paths: Sequence[Path]) -> list[Any]:
        """Decoded images: (H, W, 3) uint8 BGR arrays, by the loader of the test pipeline."""
        return [self._reader({"img_path": str(path)})["img"] for path in paths]

    def preprocess(self, arrays: Sequence[Any], ids: Sequence[int] | None = None) -> Batch:
        """Scaled, normalised and padded on the CPU; `ids` become the samples' img_id (default: their place)."""
        packed = []
        for place, array in enumerate(arrays):
            shape = array.shape[:2]
            known = {"img": array, "img_shape": shape, "ori_shape": shape, "img_path": ""}
            packed.append(self._steps({**known, "img_id": ids[place] if ids else place}))
        data = {key: [one[key] for one in packed] for key in ("inputs", "data_samples")}
        with torch.no_grad():
            found = self._preprocessor(data, training=False)
        return Batch(found["inputs"], found["data_samples"])

    def to_device(self, batch: Batch) -> Batch:
        return Batch(batch.inputs.to(self.device), batch.samples)

    def model(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Raw outputs of the stock network, eager."""
        with torch.no_grad():
            return self.network(inputs)

    def run(self, call: Call, batch: Batch) -> tuple[Tensor, ...]:
        """Raw outputs of `call` (a backend's, or `self.model`); a network may ask for the images' true sizes."""
        with self.network.seeing(batch.samples):
            return call(batch.inputs)

    def post(self, raw: Sequence[Tensor], batch: Batch) -> list[Detections]:
        """Detections of each image, on the CPU."""
        with torch.no_grad():
            found = self.network.post(raw, batch.samples)
        return [
            Detections(getattr(one.bboxes, "tensor", one.bboxes).cpu(), one.scores.cpu(), one.labels.cpu())
            for one in found
        ]

    def end_to_end(self, paths: Sequence[Path], call: Call | None = None) -> list[Detections]:
        """Files in, detections out."""
        batch = self.to_device(self.preprocess(self.read(paths)))
        return self.post(self.run(call or self.model, batch), batch)


def load(
    config: Path,
    checkpoint: Path,
    device: str = "cpu",
    size: tuple[int, int] | None = None,
    workspace: Path | None = None,
    data: dict[str, Any] | None = None,
) -> Subject:
    """The student of a stock mmdet config and its exported weights.

    Args:
        size: (height, width) for the test pipeline to scale to; None: the config's own.
        workspace: where backends keep what they export; None: the working directory.
        data: entries of the config's test data set to replace (data_root, ann_file, data_prefix), where it has moved.

    Raises:
        InputError: a config or checkpoint that cannot be read, or that do not fit each other.
    """
    register()
    from mmdet.registry import MODELS
    from mmengine.registry import DefaultScope

    settings = _read_config(config)
    settings["test_dataloader"]["dataset"].update(data or {})
    with DefaultScope.overwrite_default_scope("mmdet"):
        try:
            detector = MODELS.build(settings["model"])
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"mmdet cannot build the model of {config}: {first_line(error)}; check the config"
            ) from error
    _fill(detector, checkpoint, config)
    where = torch.device(device)
    if where.type == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda, but torch sees no GPU here; leave --device out to measure on the CPU")
    return Subject(settings, checkpoint, detector.to(where).eval(), where, size, workspace or Path("."))


def register() -> None:
    """Close the host's gaps and import all of mmdet."""
    compat.prepare()
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)


def _read_config(path: Path) -> Any:
    from mmengine import Config

    if not path.is_file():
        raise InputError(f"no config {path}; give a whole mmdet config, or a finished RUN")
    try:
        found = Config.fromfile(path)
    except Exception as error:
        raise InputError(f"cannot read {path}: {first_line(error)}; give a whole mmdet config") from error
    for key in ("model", "test_dataloader"):
        if key not in found:
            raise InputError(f"{path} has no `{key}`; give a whole mmdet config with model and test_dataloader")
    return found


def _fill(detector: Any, path: Path, config: Path) -> None:
    """Stock loading: tensors only, every key must fit."""
    if not path.is_file():
        raise InputError(f"no checkpoint {path}; give the student.pth of a finished run, or any mmdet checkpoint")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(
            f"cannot read {path} as tensors only: {first_line(error)}; where you trust it, keep its weights alone: "
            "torch.save(torch.load(path, weights_only=False)['state_dict'], new_path)"
        ) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else {}
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path} holds no weights by name; give a student.pth, or an mmdet checkpoint")
    try:
        detector.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise InputError(f"{path} does not fit the model of {config}: {_misfit(detector, state)}") from error


def _misfit(detector: Any, state: dict[str, Tensor]) -> str:
    wanted = detector.state_dict()
    lists = {
        "missing": [key for key in wanted if key not in state],
        "unexpected": [key for key in state if key not in wanted],
        "of another shape": [key for key in wanted if key in state and wanted[key].shape != state[key].shape],
    }
    told = [f"{len(keys)} keys {what} ({', '.join(keys[:3])})" for what, keys in lists.items() if keys]
    return "; ".join(told) + "; give the config the checkpoint was trained with"
