"""Synthetic parts of a dry run: a data set, a batch of it, untrained teachers, weight files.

They have the structure of the real parts (files, keys, classes, shapes) and random contents, so the same code runs on
them; what depends on contents, such as a teacher's accuracy, they cannot show.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from c2d.configs.input_size import pipeline_size
from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, atomic_write_json
from c2d.data.card import LoadedCard
from c2d.data.coco_file import SOFT_LABEL
from c2d.data.make_card import make_card
from c2d.detectors.normalization import Normalization
from c2d.evaluation.stock_model import build_student
from c2d.specs.schedule import TeacherRecipe
from c2d.specs.spec import RunSpec
from c2d.teachers.classifier import ClassifierTeacher
from c2d.teachers.crop_classifier import normalization_from_recipe
from c2d.teachers.detector import DetectorTeacher
from c2d.teachers.networks import build_fitted_network
from c2d.training import config
from c2d.weights.backbone_keys import HEADS

#: The two images: (width, height) in px of their files, and their boxes as fractions x, y, w, h.
IMAGE = (640, 480)
BOXES = (((0.1, 0.15, 0.2, 0.25), (0.55, 0.5, 0.25, 0.2)), ((0.4, 0.4, 0.2, 0.2),))
#: Side of the batch in px: every map of an FPN has a cell, and a step of a ResNet-50 takes a second or two.
SMALL = 128


def dataset(classes: Sequence[str], folder: Path, soft_labels: bool = False, whole_images: bool = False) -> LoadedCard:
    """Write a data set of two noise images with boxes, and its card.

    Args:
        classes: names, in order.
        folder: for images and annotations.
        soft_labels: give every box one, the same share for each class.
        whole_images: each image has one box of its own size.
    """
    from PIL import Image

    width, height = IMAGE
    noise = np.random.default_rng(0)
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for number, inside in enumerate(BOXES, start=1):
        pixels = noise.integers(0, 256, (height // 32, width // 32, 3), dtype=np.uint8)
        name = f"{number}.png"
        Image.fromarray(pixels).resize(IMAGE, Image.Resampling.NEAREST).save(folder / "images" / name)
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        for x, y, w, h in [(0.0, 0.0, 1.0, 1.0)] if whole_images else inside:
            kind, index = 1 + len(boxes) % len(classes), len(boxes) + 1
            box = {"bbox": [x * width, y * height, w * width, h * height], "area": w * width * h * height}
            soft = {SOFT_LABEL: [1 / len(classes)] * len(classes)} if soft_labels else {}
            boxes.append({"id": index, "image_id": number, "category_id": kind, "iscrowd": 0, **box, **soft})
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, start=1)]
    atomic_write_json(folder / "boxes.json", {"images": images, "annotations": boxes, "categories": categories})
    split = (folder / "boxes.json", folder / "images")
    return LoadedCard(make_card(folder, "synthetic", classes, {"train": split, "val": split}), folder)


def batch_sides(resolved: config.RunConfigs) -> list[int]:
    """Return the sides in px of the square batches to try, smallest first; SSD accepts its own input size alone."""
    model, pipeline = resolved.train["model"], resolved.student["test_dataloader"]["dataset"]["pipeline"]
    size = pipeline_size([dict(step) for step in pipeline])
    own = size if isinstance(size, int) else min(size)
    head = model.get("bbox_head")
    generator = head.get("anchor_generator") if isinstance(head, dict) else None
    if isinstance(generator, dict) and generator.get("type") == "SSDAnchorGenerator":
        return [own]
    return [SMALL, own] if own > SMALL else [own]


def batch(side: int, num_classes: int) -> dict[str, Any]:
    """Build a batch of two square images as the loader passes it to the data preprocessor.

    Args:
        side: of the images in px.
        num_classes: labels are below it.

    Returns:
        `inputs`: two uint8 tensors (3, side, side); `data_samples`: their boxes, xyxy px, with labels and soft labels.
    """
    from mmdet.structures import DetDataSample
    from mmdet.structures.bbox import HorizontalBoxes
    from mmengine.structures import InstanceData

    noise = torch.Generator().manual_seed(0)
    inputs, samples = [], []
    for number, inside in enumerate(BOXES):
        inputs.append(torch.randint(0, 256, (3, side, side), generator=noise, dtype=torch.uint8))
        corners = torch.tensor([[x, y, x + w, y + h] for x, y, w, h in inside]) * side
        labels = (torch.arange(len(inside)) + number) % num_classes
        sample = DetDataSample(
            metainfo={
                "img_id": number,
                "img_path": f"{number}.png",
                "img_shape": (side, side),
                "ori_shape": (side, side),
                "scale_factor": (1.0, 1.0),
                "flip": False,
                "flip_direction": None,
            }
        )
        soft = torch.full((len(inside), num_classes), 1 / num_classes)
        sample.gt_instances = InstanceData(bboxes=HorizontalBoxes(corners), labels=labels, soft_labels=soft)
        sample.ignored_instances = InstanceData(
            bboxes=HorizontalBoxes(torch.zeros(0, 4)), labels=torch.zeros(0, dtype=torch.long)
        )
        samples.append(sample)
    return {"inputs": inputs, "data_samples": samples}


def classifier_teacher(
    spec: RunSpec, classes: Sequence[str], folder: RunFolder, text_length: int | None = None
) -> ClassifierTeacher:
    """Build the classifier teacher that `spec` will train, with random weights.

    Args:
        spec: of the teacher's run.
        classes: names, in order.
        folder: the teacher's run folder in the store, which may keep the config of a student that its network names.
        text_length: numbers of a text embedding, with fit zero-shot.

    Raises:
        InputError: the spec is of another kind, or has no crop size.
    """
    network, pixels, context = _classifier(spec, classes, folder, text_length)
    assert spec.input is not None  # checked there
    return ClassifierTeacher(network, classes, spec.input, pixels, context=context)


def classifier_weights(
    spec: RunSpec, classes: Sequence[str], folder: RunFolder
) -> tuple[dict[str, Any], Normalization]:
    """Build the classifier that `spec` will train, and return its random weights and the normalisation of its crops.

    Args:
        spec: of the classifier's run.
        classes: names, in order.
        folder: see `classifier_teacher`.

    Raises:
        InputError: as `classifier_teacher`.
    """
    network, pixels, _ = _classifier(spec, classes, folder, None)
    return network.state_dict(), pixels


def _classifier(
    spec: RunSpec, classes: Sequence[str], folder: RunFolder, text_length: int | None
) -> tuple[nn.Module, Normalization, float]:
    """The network, the normalisation of its crops, and their context."""
    recipe = spec.schedule.values
    if spec.kind != "classifier" or spec.network is None or not isinstance(recipe, TeacherRecipe):
        raise InputError(f"run {spec.id} is a {spec.kind}, a classifier teacher is needed; give one with a network")
    if spec.input is None:
        raise InputError(f"teacher {spec.id} has no crop size; set `input` in its spec")
    pixels = normalization_from_recipe(recipe.normalisation.model_dump())
    backbone = config.backbone_of_spec(spec, folder)
    network = build_fitted_network(spec.network, len(classes), spec.input, text_length, backbone)
    return network, pixels, recipe.crops.context


def detector_teacher(spec: RunSpec, card: LoadedCard, folder: RunFolder) -> DetectorTeacher:
    """Build the detector teacher that `spec` will train, with the weights its code initialises.

    Args:
        spec: of the teacher's run.
        card: the data set, for its classes.
        folder: the teacher's run folder in the store, which may keep its student config.

    Raises:
        InputError: the spec is of another kind.
    """
    if spec.kind != "detector":
        raise InputError(f"run {spec.id} is a {spec.kind}, a detector teacher is needed; give one with a student")
    teacher = DetectorTeacher(build_student(config.resolve(spec, card, folder).student))
    teacher.classes = tuple(card.card.classes)
    return teacher


def is_downloaded(init: str) -> bool:
    """Return whether torch's cache has the file of `torchvision:MODEL.WEIGHTS`; both names must exist."""
    import torchvision

    model, _, name = init.partition(":")[2].partition(".")
    url = str(torchvision.models.get_model_weights(model)[name].url)
    return (Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]).is_file()


def weights(init: str, folder: Path, *, head: bool) -> Path:
    """Write a file of zeros with the keys and shapes of `torchvision:MODEL.WEIGHTS`; nothing is downloaded.

    Args:
        init: `torchvision:MODEL.WEIGHTS`.
        folder: for the file.
        head: include the classifier's head, which a detector's backbone does not have and which is most of a VGG.
    """
    import torchvision

    model = init.partition(":")[2].partition(".")[0]
    path = folder / f"{model}{'' if head else '-trunk'}.pth"
    if not path.exists():
        try:
            with torch.device("meta"):  # shapes without the seconds that random numbers for a VGG take
                network = torchvision.models.get_model(model, weights=None)
        except (NotImplementedError, RuntimeError):  # a network that computes with its tensors while it is built
            network = torchvision.models.get_model(model, weights=None)
        state = network.state_dict()
        kept = {key: torch.zeros_like(v, device="cpu") for key, v in state.items() if head or not key.startswith(HEADS)}
        torch.save(kept, path)
    return path
