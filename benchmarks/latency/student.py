"""Load a stock student: an mmdet config and its exported weights, on a device, in eval mode."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from c2d.configs.class_names import name_outputs
from c2d.configs.dataset_tree import dataset_nodes
from c2d.configs.foreign_config import read_config, remove_weight_files
from c2d.core.errors import InputError, first_line
from c2d.detectors.heads import count_classes
from c2d.detectors.mmdet_scope import mmdet_scope
from c2d.weights import safe_load


@dataclass(frozen=True)
class StockStudent:
    """A detector as its users run it: mmdet alone, without teacher, distiller or wrapper.

    Attributes:
        config: the whole mmengine Config.
        detector: mmdet's detector in eval mode on `device`.
        device: of the weights.
        outputs: names of its classes in the order of the outputs, from checkpoint or config; None where nothing names
            them.
    """

    config: Any
    detector: Any
    device: torch.device
    outputs: tuple[str, ...] | None = None

    @property
    def score_threshold(self) -> float | None:
        """Score below which detections are dropped before NMS, as in evaluation; None: the detector has none."""
        return self._test_settings.get("score_thr")

    @property
    def max_detections(self) -> int:
        """Detections that the student keeps of an image."""
        # mmdet: -1 means all.
        limit = self._test_settings.get("max_per_img", -1)
        return int(limit) if limit > 0 else sys.maxsize

    @property
    def _test_settings(self) -> Any:
        settings = self.detector.test_cfg or {}
        # A two-stage detector has one part for each stage; its final NMS is that of `rcnn`.
        return settings.get("rcnn") or settings

    @cached_property
    def dataset(self) -> Any:
        """mmdet's data set of the config's `test_dataloader`.

        Raises:
            InputError: its files are missing, or it has no image.
        """
        return _build_dataset(self.config["test_dataloader"]["dataset"])

    def images(self, count: int) -> list[Path]:
        """Return `count` image files spread evenly over the test data set, or all where it has fewer.

        Raises:
            InputError: see `dataset`.
        """
        total = len(self.dataset)
        indices = range(total) if count >= total else (index * total // count for index in range(count))
        return [Path(self.dataset.get_data_info(index)["img_path"]) for index in indices]


def load_stock_student(
    config: Path, checkpoint: Path, device: str = "cpu", dataset_overrides: dict[str, Any] | None = None
) -> StockStudent:
    """Build the detector of a config and load its weights.

    The weights that the config names for initialisation are not loaded, so nothing is downloaded.

    Args:
        config: a whole mmdet config file.
        checkpoint: its weights: the student.pth of a run, or any mmdet checkpoint.
        device: cpu or cuda.
        dataset_overrides: entries of the config's test data set to replace (data_root, ann_file, data_prefix), where
            the data have moved.

    Raises:
        InputError: a config or checkpoint that cannot be read, or that do not fit each other, in their classes too.
    """
    settings = _read_config(config)
    settings["test_dataloader"]["dataset"].update(dataset_overrides or {})
    remove_weight_files(settings["model"])
    with mmdet_scope():
        from mmdet.registry import MODELS

        try:
            detector = MODELS.build(settings["model"])
        except (AssertionError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"mmdet cannot build the model of {config}: {first_line(error)}; check the config"
            ) from error
    content = _load_weights(detector, checkpoint, config)
    named = name_outputs(settings, content, count_classes(detector), str(config), str(checkpoint))
    target = torch.device(device)
    if target.type == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda, but torch sees no GPU here; leave --device out to measure on the CPU")
    return StockStudent(settings, detector.to(target).eval(), target, named.names if named else None)


def _read_config(path: Path) -> Any:
    config = read_config(path, "give a whole mmdet config, or a finished RUN")
    for key in ("model", "test_dataloader"):
        if key not in config:
            raise InputError(f"{path} has no `{key}`; give a whole mmdet config with model and test_dataloader")
    nodes = dataset_nodes(config["test_dataloader"].get("dataset") or [], "test_dataloader.dataset")
    if len(nodes) != 1:
        raise InputError(
            f"test_dataloader.dataset of {path} is {len(nodes)} data sets, and the AP of an artefact is taken on one; "
            "copy the config and leave one in it"
        )
    # Without the wrapper around it, such as RepeatDataset.
    config["test_dataloader"]["dataset"] = {**nodes[0].config, "pipeline": nodes[0].steps}
    return config


def _load_weights(detector: Any, checkpoint: Path, config: Path) -> Any:
    """Load the weights; return the content of their file."""
    if not checkpoint.is_file():
        raise InputError(f"no checkpoint {checkpoint}; give the student.pth of a finished run, or any mmdet checkpoint")
    try:
        content = safe_load.load(checkpoint)
        safe_load.load_into(detector, content, who="student", strict=True, source_name=str(checkpoint))
    except (safe_load.Refused, safe_load.Corrupt):
        raise
    except InputError as error:
        raise InputError(f"the checkpoint does not fit the model of {config}: {error}") from error
    return content


def _build_dataset(settings: Any) -> Any:
    file = os.path.join(settings.get("data_root") or "", settings.get("ann_file") or "")
    if not os.path.isfile(file):
        raise InputError(
            f"no annotations {file}, which the config's test_dataloader names; restore the data set, give its new "
            "place with --data, or time random images: --images random"
        )
    # mmdet prints while it reads the annotations.
    with mmdet_scope(), contextlib.redirect_stdout(io.StringIO()):
        from mmdet.registry import DATASETS

        try:
            dataset = DATASETS.build(settings)
        except (AssertionError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"mmdet cannot build the test data set: {first_line(error)}; check the config") from error
    if not len(dataset):
        raise InputError(f"{file} has no image; give a config whose test_dataloader has images")
    return dataset
