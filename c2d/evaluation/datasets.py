"""mmdet data sets of a data card: their configs, and the built data sets."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mmengine import Config

from c2d.configs.closing_phase import PIPELINE
from c2d.configs.image_mixing import mixing_steps
from c2d.core.errors import InputError, first_line
from c2d.data.card import LoadedCard
from c2d.data.coco_file import read_coco
from c2d.data.usable_boxes import MIN_IMAGE_PX, count_usable, nothing_usable
from c2d.detectors.mmdet_scope import mmdet_scope
from c2d.detectors.training_pipeline import TrainingPipeline, build_steps

LOOKED_UP_TOGETHER = 4096
"""Image files that one thread looks up; ImageNet has 1.28 million."""
CALIBRATION_EVERY = 10
"""One training image in so many is held out for the calibration of a classifier."""


def coco_dataset(card: LoadedCard, split: str, pipeline: list[Any], *, test: bool) -> dict[str, Any]:
    """Return the config of mmdet's CocoDataset for one split of a card.

    Args:
        card: the data set.
        split: of the card.
        pipeline: of the images.
        test: keep every image; training drops images without boxes, as mmdet does, unless it is overridden.
    """
    dataset: dict[str, Any] = {
        "type": "CocoDataset",
        "data_root": "",
        "ann_file": str(card.annotations(split)),
        "data_prefix": {"img": str(card.images(split))},
        "metainfo": {"classes": tuple(card.card.classes)},
        "test_mode": test,
        "pipeline": pipeline,
    }
    if not test:
        # The values of mmdet's stock COCO configs.
        dataset["filter_cfg"] = {"filter_empty_gt": True, "min_size": MIN_IMAGE_PX}
    return dataset


def held_out_dataset(config: Config, card: LoadedCard, who: str, split: str | None = None) -> dict[str, Any]:
    """Return the config of the test data set, with the files of one split of a card.

    Args:
        config: with `test_dataloader`.
        card: the data set.
        who: `student` or `teacher`, for the message.
        split: of the card; None: the split that results are measured on.

    Raises:
        InputError: classes of config and data set differ.
    """
    dataset: dict[str, Any] = config["test_dataloader"]["dataset"]
    classes = list(dataset["metainfo"]["classes"])
    if classes != list(card.card.classes):
        raise InputError(
            f"the config's classes ({', '.join(classes[:4])}, ...) are not those of data set {card.card.name} "
            f"({', '.join(card.card.classes[:4])}, ...); evaluate on the data the {who} was trained for"
        )
    # The card may lie at another place than in the training.
    split = split or card.evaluation_split
    return {**dataset, "ann_file": str(card.annotations(split)), "data_prefix": {"img": str(card.images(split))}}


def build_dataset(dataset: Any, *, soft_labels: bool = False) -> Any:
    """Build an mmdet data set; what it prints while reading is dropped.

    Args:
        dataset: its config. One with steps that mix images (`c2d.configs.image_mixing`), or with a `closing_pipeline`,
            gets a `TrainingPipeline`.
        soft_labels: keep the soft labels of a CocoDataset whose annotations have them (`SoftLabelDataset`).

    Raises:
        InputError: the data set cannot be built, has no images, or image files are missing.
    """
    with mmdet_scope(), contextlib.redirect_stdout(io.StringIO()):
        from mmdet.registry import DATASETS

        if soft_labels and isinstance(dataset, Mapping) and dataset.get("type") == "CocoDataset":
            from c2d.evaluation.soft_label_dataset import SoftLabelDataset

            dataset = {**dataset, "type": SoftLabelDataset}
        whole = isinstance(dataset, Mapping) and (PIPELINE in dataset or any(mixing_steps(dataset.get("pipeline"))))
        try:
            built = DATASETS.build(_without_pipelines(dataset) if whole else dataset)
        except ValueError as error:  # mmengine cannot pack an empty list
            raise _no_images_error(dataset) from error
        except (InputError, MemoryError):
            raise
        except Exception as error:  # a config's values reach any code of mmdet, which may raise anything
            if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):  # of a file system
                raise
            raise InputError(
                f"mmdet cannot build the data set: {first_line(error)}; check its pipeline and the overrides"
            ) from error
    if whole:
        built.pipeline = _training_pipeline(built, dataset)
    paths = [built.get_data_info(index)["img_path"] for index in range(len(built))]
    if not paths:
        raise _no_images_error(dataset)
    missing = _missing(paths)
    if missing:
        raise InputError(
            f"{len(missing)} of {len(paths)} images of {dataset['ann_file']} are missing, first {missing[0]}; "
            "restore them, or make the data card again where the images are"
        )
    return built


def _missing(paths: list[str]) -> list[str]:
    """The paths that do not exist; many of them are looked up in threads, for the sake of network file systems."""

    def missing_of(part: list[str]) -> list[str]:
        return [path for path in part if not os.path.exists(path)]

    if len(paths) <= LOOKED_UP_TOGETHER:
        return missing_of(paths)
    parts = [paths[start : start + LOOKED_UP_TOGETHER] for start in range(0, len(paths), LOOKED_UP_TOGETHER)]
    with ThreadPoolExecutor(max_workers=16) as pool:
        return [path for part in pool.map(missing_of, parts) for path in part]


def _without_pipelines(dataset: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in dataset.items() if key not in ("pipeline", PIPELINE)}


def _training_pipeline(built: Any, dataset: Mapping[str, Any]) -> TrainingPipeline:
    """Build the pipelines of a config for the data set that was built without them."""
    info = getattr(built, "numbered_info", built.get_data_info)
    steps, closing = (
        build_steps(dataset[key], built, info) if key in dataset else None for key in ("pipeline", PIPELINE)
    )
    assert steps is not None
    return TrainingPipeline(steps, closing)


def _no_images_error(dataset: Any) -> InputError:
    """Build the error for a data set whose filters leave no image, with what each of them drops."""
    min_size = (dataset.get("filter_cfg") or {}).get("min_size", 0)
    counted = count_usable(read_coco(Path(dataset["ann_file"])), min_size)
    if counted.usable:
        return InputError(f"{dataset['ann_file']} has no image to use; check filter_cfg, indices and the overrides")
    return InputError(f"{dataset['ann_file']} {nothing_usable(counted, 'to use')}")


def calibration_ids(card: LoadedCard) -> set[int]:
    """Return the ids of the training images that are held out for the calibration.

    Raises:
        InputError: the training split has fewer than ten images, or those that are held out have no box.
    """
    content = read_coco(card.annotations("train"))
    images = content["images"]
    ids = sorted(image["id"] for image in images)[CALIBRATION_EVERY - 1 :: CALIBRATION_EVERY]
    if not ids:
        raise InputError(
            f"calibrate holds out every {CALIBRATION_EVERY}th training image, and {card.card.name} has {len(images)}; "
            "leave it out"
        )
    held_out = set(ids)
    if not any(box["image_id"] in held_out and not box.get("iscrowd") for box in content["annotations"]):
        raise InputError(
            f"calibrate: the training images held out, {len(ids)} of {len(images)}, have no box; leave it out"
        )
    return held_out


def subset(dataset: Any, ids: set[int], *, inside: bool) -> Any:
    """Return the part of an mmdet data set with images of `ids`, or with all others.

    Args:
        dataset: a plain one, no wrapper of others.
        ids: ids of images.
        inside: keep the images of `ids`, not the others.

    Raises:
        InputError: it is a wrapper, which overrides can make, or no image is left.
    """
    from mmengine.dataset import BaseDataset

    if not isinstance(dataset, BaseDataset):
        raise InputError(
            f"calibrate needs a plain data set, and overrides made a {type(dataset).__name__}; leave one out"
        )
    kept = [place for place in range(len(dataset)) if (dataset.get_data_info(place)["img_id"] in ids) == inside]
    if not kept:
        raise InputError("calibrate leaves no image with boxes to train on or to calibrate with; leave it out")
    return dataset.get_subset(kept)
