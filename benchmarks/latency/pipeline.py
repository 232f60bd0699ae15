"""From image files to detections, one method a stage: read, preprocess, copy to the device, run, post-process.

A backend replaces the network's run alone. The steps before it are those of the config's test pipeline, without
`LoadAnnotations`: evaluation needs annotations, a detector in use has none.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.backends.base import BackendContext
from benchmarks.backends.network import Batch, Call, split_network
from benchmarks.latency.student import StockStudent
from c2d.core.errors import InputError, first_line
from c2d.detectors.mmdet_scope import mmdet_scope

LOADER = "LoadImageFromFile"
# Resize has `scale`, mosaics have `img_scale`, Pad has `size`.
_SIZE_KEYS = ("scale", "img_scale", "size")


@dataclass(frozen=True)
class Detections:
    """Detections of one image, on the CPU.

    Attributes:
        boxes: (n, 4) float32, xyxy px of the original image.
        scores: (n,) float32.
        labels: (n,) int64.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


class InferencePipeline:
    """Every stage of a student as a method of its own.

    Args:
        student: the loaded student.
        size: (height, width) in px that the test pipeline scales images to; None: the config's own.

    Attributes:
        size: as above; batches may be smaller or padded.
        resized: whether `size` is not the config's own.
        network: the part of the detector that a backend runs.
        device: of the network.

    Raises:
        InputError: a test pipeline without a size, or one that does not begin with `LoadImageFromFile`.
    """

    def __init__(self, student: StockStudent, size: tuple[int, int] | None = None) -> None:
        self.student, self.device = student, student.device
        steps = student.config["test_dataloader"]["dataset"]["pipeline"]
        own_size = input_size(steps)
        self.size = size or own_size
        self.resized = self.size != own_size
        self._load_image, self._transform = build_transforms(resize_steps(steps, self.size))
        # Normalisation and padding run on the CPU, as a stage that is timed apart from the model.
        self._preprocessor = copy.deepcopy(student.detector.data_preprocessor).cpu()
        self.network = split_network(student.detector, torch.zeros(1, 3, *self.padded_size, device=self.device))

    @property
    def padded_size(self) -> tuple[int, int]:
        """(height, width) in px of a batch of images that fill `size`."""
        divisor = getattr(self._preprocessor, "pad_size_divisor", 1)
        height, width = (-(-side // divisor) * divisor for side in self.size)
        return height, width

    def image_files(self, kind: str, count: int, folder: Path) -> list[Path]:
        """Return the files to time.

        Args:
            kind: "real" (of the test data set) or "random".
            count: number of files.
            folder: gets the random images.

        Raises:
            InputError: real images of a data set that is missing.
        """
        return write_random_images(folder, self.size, count) if kind == "random" else self.student.images(count)

    def read(self, paths: Sequence[Path]) -> list[Any]:
        """Decode files to (H, W, 3) uint8 BGR arrays, with the loader of the test pipeline."""
        return [self._load_image({"img_path": str(path)})["img"] for path in paths]

    def preprocess(self, arrays: Sequence[Any], ids: Sequence[int] | None = None) -> Batch:
        """Scale, normalise and pad on the CPU.

        Args:
            arrays: (H, W, 3) uint8 BGR each.
            ids: img_id of each sample; None: its index.
        """
        packed = []
        for index, array in enumerate(arrays):
            shape = array.shape[:2]
            image = {"img": array, "img_shape": shape, "ori_shape": shape, "img_path": ""}
            packed.append(self._transform({**image, "img_id": ids[index] if ids else index}))
        data = {key: [one[key] for one in packed] for key in ("inputs", "data_samples")}
        with torch.no_grad():
            batch = self._preprocessor(data, training=False)
        return Batch(batch["inputs"], batch["data_samples"])

    def to_device(self, batch: Batch) -> Batch:
        """Copy the inputs to the network's device."""
        return Batch(batch.inputs.to(self.device), batch.samples)

    def eager(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the raw outputs of the stock network for (B, 3, H, W) float32."""
        with torch.no_grad():
            return self.network(inputs)

    def post_process(self, raw: Sequence[Tensor], batch: Batch) -> list[Detections]:
        """Return the detections of each image, with score threshold and NMS as in evaluation.

        Args:
            raw: outputs of the network, of the shapes that its `forward` documents, such as maps (B, C, h, w).
            batch: the B images.
        """
        with torch.no_grad():
            instances = self.network.post_process(raw, batch.samples)
        return [
            Detections(getattr(one.bboxes, "tensor", one.bboxes).cpu(), one.scores.cpu(), one.labels.cpu())
            for one in instances
        ]

    def end_to_end(self, paths: Sequence[Path], call: Call) -> list[Detections]:
        """Return the detections of image files, all stages in turn."""
        batch = self.to_device(self.preprocess(self.read(paths)))
        return self.post_process(self.network.run(call, batch), batch)

    def single_image_batches(self, paths: Sequence[Path]) -> Iterator[tuple[Path, Batch]]:
        """Yield batches of one image on the device: padding to the size of its neighbours would change an image."""
        for path in paths:
            yield path, self.to_device(self.preprocess(self.read([path])))

    def backend_context(self, workspace: Path) -> BackendContext:
        """Return what a backend needs to prepare the network; exported files go to `workspace`."""

        def example_batches(count: int) -> Iterator[Batch]:
            paths = self.student.images(count)  # here, so that a missing data set raises before the first batch
            return (batch for _, batch in self.single_image_batches(paths))

        model = str(self.student.config["model"])
        return BackendContext(self.network, self.device, self.size, workspace, model, example_batches)


def input_size(steps: Sequence[Any]) -> tuple[int, int]:
    """Return (height, width) in px of the first step with a `scale`, which mmcv gives as (width, height).

    Raises:
        InputError: no step has one.
    """
    for step in steps:
        if (scale := _int_pair(step.get("scale"))) is not None:
            return scale[1], scale[0]
    raise InputError("the test pipeline has no step with a `scale` (Resize), so the input size is not known; add one")


def resize_steps(steps: Sequence[Any], size: tuple[int, int]) -> list[Any]:
    """Return the steps with every scale (and fixed padding size) that equals the config's own replaced.

    Args:
        steps: of the test pipeline.
        size: (height, width) in px.
    """
    height, width = input_size(steps)
    changed = copy.deepcopy(list(steps))
    for step in changed:
        for key in _SIZE_KEYS:
            if _int_pair(step.get(key)) == (width, height):
                step[key] = (size[1], size[0])
    return changed


def _int_pair(value: Any) -> tuple[int, int] | None:
    if isinstance(value, (list, tuple)) and len(value) == 2 and all(isinstance(side, int) for side in value):
        return int(value[0]), int(value[1])
    return None


def build_transforms(steps: Sequence[Any]) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Build the loader and the later steps of a test pipeline.

    Returns:
        ({img_path} -> {img, ...}, {img, img_shape, ori_shape, ...} -> {inputs, data_samples}).

    Raises:
        InputError: the pipeline does not begin with `LoadImageFromFile`, or cannot be built.
    """
    from mmengine.dataset import Compose

    kinds = [str(step["type"]).rpartition(".")[2] for step in steps]
    if not kinds or kinds[0] != LOADER:
        raise InputError(f"the test pipeline begins with {kinds[0] if kinds else 'nothing'}, not with {LOADER}")
    later = [step for step, kind in zip(steps[1:], kinds[1:], strict=True) if kind != "LoadAnnotations"]
    with mmdet_scope():
        from mmdet.registry import TRANSFORMS

        try:
            return TRANSFORMS.build(steps[0]), Compose(later)
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"mmdet cannot build the test pipeline: {first_line(error)}; check the config") from error


def write_random_images(folder: Path, size: tuple[int, int], count: int) -> list[Path]:
    """Write `count` PNG files of uniform noise unless they exist; the same noise every time.

    Args:
        folder: is created.
        size: (height, width) in px.
        count: number of files.
    """
    import cv2
    import numpy as np

    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    paths = [folder / f"noise_{size[0]}x{size[1]}_{index:03d}.png" for index in range(count)]
    for path in paths:
        # Drawn although the file may exist, so that each later file gets its own noise.
        pixels = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
        if not path.exists():
            cv2.imwrite(str(path), pixels)
    return paths
