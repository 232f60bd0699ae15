"""A trained student as an object: the stock mmdet detector of a run, its classes, and detections on images."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, overload

from c2d.core.errors import InputError, RunError, first_line
from c2d.core.run_folder import read_json
from c2d.core.store_folder import find_run, runs_folder

if TYPE_CHECKING:
    import numpy as np
    import torch

    Image: TypeAlias = str | os.PathLike[str] | np.ndarray


@dataclass(frozen=True, eq=False)
class Detections:
    """Detections on one image, in the order of the detector: by falling score.

    Attributes:
        boxes: (N, 4) float64: x1, y1, x2, y2 in px of the given image.
        scores: (N,) float64, 0-1.
        labels: (N,) int64, places in `Student.classes`.
        names: class of each detection.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, eq=False)
class Student:
    """The exported student of a run: mmdet's own detector, without teacher, method or wrapper.

    Attributes:
        run: id of the run.
        model: the mmdet detector in eval mode on `device`. It has `cfg` and `dataset_meta`, so mmdet's own functions
            take it: `mmdet.apis.inference_detector(student.model, "image.jpg")`.
        classes: names in the order of the labels.
        device: `cpu` or `cuda:N`.
        config: the whole mmengine Config of the run.
    """

    run: str
    model: Any = field(repr=False)
    classes: tuple[str, ...]
    device: str
    config: Any = field(repr=False)

    @overload
    def predict(self, images: Image, score: float = 0.0) -> Detections: ...  # type: ignore[overload-overlap]

    @overload
    def predict(self, images: Sequence[Image], score: float = 0.0) -> list[Detections]: ...

    def predict(self, images: Image | Sequence[Image], score: float = 0.0) -> Detections | list[Detections]:
        """Detect the objects of images, each as a batch of its own, with the run's own test pipeline.

        Args:
            images: a file, an (H, W, 3) uint8 array in RGB, or a sequence of these.
            score: detections below it are left out, 0-1. The detector itself has a lowest score and a largest number
                of detections, those of the evaluation.

        Returns:
            The `Detections` of the image; a list of them for a sequence.

        Raises:
            InputError: no such file, an array of another form, or a score outside 0-1.
            RunError: a file is no image that can be decoded, or an image that cannot be resized as the evaluation does,
                e.g. one of 1 x 5000 px.
        """
        if not 0 <= score <= 1:
            raise InputError(f"score {score}; allowed is 0 to 1")
        if isinstance(images, Sequence) and not isinstance(images, str | bytes):
            return [self._predict(image, score) for image in images]
        return self._predict(images, score)

    def _predict(self, image: Any, score: float) -> Detections:
        import cv2
        import numpy as np
        import torch

        from c2d.detectors.mmdet_scope import mmdet_scope

        is_array = isinstance(image, np.ndarray)
        given = _pixels(image) if is_array else {"img_path": _file(image), "img_id": 0}
        with mmdet_scope(), torch.no_grad():
            try:
                item = self._pipeline(is_array)(given)
            except (AssertionError, OSError, ValueError, cv2.error) as error:
                # mmcv asserts that the decoder returned pixels; OpenCV refuses an empty file, or a resize to 0 px.
                what = f"an array of shape {image.shape}" if is_array else os.fspath(image)
                raise RunError(
                    f"{what} is no image that the test pipeline takes: {first_line(error)}; give another one", "data"
                ) from None
            batch = {"inputs": [item["inputs"]], "data_samples": [item["data_samples"]]}
            found = self.model.test_step(batch)[0].pred_instances
        boxes = getattr(found.bboxes, "tensor", found.bboxes).double().cpu().numpy()
        scores, labels = found.scores.double().cpu().numpy(), found.labels.long().cpu().numpy()
        kept = scores >= score
        names = tuple(self.classes[label] for label in labels[kept])
        return Detections(boxes[kept], scores[kept], labels[kept], names)

    def _pipeline(self, is_array: bool) -> Any:
        from mmengine.dataset import Compose

        steps = [
            dict(step) for step in self.config["test_dataloader"]["dataset"]["pipeline"]
            if not str(step["type"]).endswith("LoadAnnotations")
        ]  # fmt: skip
        if is_array:
            steps[0] = {"type": "LoadImageFromNDArray"}
        return Compose(steps)


def load_student(
    run: str | os.PathLike[str], *, runs: str | Path | None = None, device: str | torch.device | None = None
) -> Student:
    """Load the exported student of a finished run: the stock mmdet detector that every reported number comes from.

    Config and weights are compared with the digests that the run recorded, and nothing in them is executed.

    Args:
        run: id of the run, the beginning of its id, its folder, or a `Run`.
        runs: the store of an id (default: C2D_RUNS, else ./runs).
        device: `cpu`, `cuda` or `cuda:N`, or a torch.device (default: the GPU where there is one, else the CPU).

    Returns:
        The student, in eval mode.

    Raises:
        InputError: no such run, or one without a student (not finished, or of another kind); a file was changed;
            `device` is unknown, or a GPU that torch does not see.
    """
    from mmengine.registry import init_default_scope

    from c2d.configs.run_config import read_run_config
    from c2d.evaluation import stock_model
    from c2d.specs.spec import parse_spec

    folder = find_run(os.fspath(run), runs_folder(runs))
    spec = parse_spec(read_json(folder.spec), str(folder.spec))
    if spec.kind != "detector":
        raise InputError(f"run {folder.id} is of kind {spec.kind} and has no student; give the run of a detector")
    if not folder.student.exists():
        state = folder.read_status()["state"]
        fix = "import it from an archive that has it" if state == "done" else f"finish it: c2d train {folder.path}"
        raise InputError(f"run {folder.id} is {state} and has no {folder.student.name}; {fix}")
    place = _device(device)
    config = read_run_config(folder)
    model, _ = stock_model.load_student(config, folder.student, place)
    classes = _classes(config, str(folder.path))
    init_default_scope("mmdet")  # as mmdet's init_detector does: its inference builds the pipeline outside of our scope
    model.cfg, model.dataset_meta = config, {"classes": classes}
    return Student(folder.id, model, classes, place, config)


def _classes(config: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """The classes that the config of a run names."""
    classes = config["test_dataloader"]["dataset"].get("metainfo", {}).get("classes")
    if not classes:
        raise InputError(f"the config of {where} names no classes; restore the file")
    return tuple(classes)


def _device(given: str | torch.device | None) -> str:
    """The name of a device that torch has here.

    Raises:
        InputError: torch has none of this name.
    """
    import torch

    if given is None:
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(given)
    except (RuntimeError, TypeError):
        raise InputError(f"unknown device {given!r}; allowed are 'cpu', 'cuda' and 'cuda:N'") from None
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device {given}: students run on 'cpu', 'cuda' and 'cuda:N'")
    found = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= found:
        seen, fix = (f"{found} GPUs, from cuda:0 on,", "another one") if found else ("no GPU", "device='cpu'")
        raise InputError(f"device {given}, but torch sees {seen} here; take {fix}")
    return str(device)


def _file(image: Any) -> str:
    if not isinstance(image, str | os.PathLike):
        raise InputError(
            f"an image is {type(image).__name__}; give a file, an (H, W, 3) uint8 array in RGB, or a list of them (of "
            'PIL: `numpy.asarray(image.convert("RGB"))`)'
        )
    if not os.path.isfile(image):
        raise InputError(f"no image file {os.fspath(image)}; check the path")
    return os.fspath(image)


def _pixels(image: np.ndarray) -> dict[str, Any]:
    """What mmdet's loader of arrays takes: BGR, as mmcv decodes files."""
    import numpy as np

    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise InputError(f"an image is {image.dtype} of shape {image.shape}; give an (H, W, 3) uint8 array in RGB")
    return {"img": np.ascontiguousarray(image[:, :, ::-1]), "img_id": 0}
