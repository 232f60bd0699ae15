"""Convert ImageNet's layout, or any tree with a folder for each class, to COCO JSON with a data card.

    SRC/train/CLASS/IMAGE
    SRC/val/CLASS/IMAGE, or SRC/val/IMAGE with a list of labels

Each image is one box of its own size. Classes are the names of the folders, sorted: for ImageNet the 1000 WordNet ids.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from c2d.core.errors import InputError
from c2d.data.conversion.coco_content import ConvertedImage, LabelledBox
from c2d.data.conversion.write_converted import Conversion, write_converted
from c2d.data.imagenet.header_sizes import header_sizes
from c2d.data.imagenet.image_folders import ListedSplit, class_folders, image_files, images_by_class, labelled_images
from c2d.data.imagenet.val_labels import DEVKIT, read_labels
from c2d.data.issues import InvalidDataset
from c2d.data.public import public_cards

INSIDE = Path("Data") / "CLS-LOC"
"""Where ILSVRC's archives have train/ and val/."""


def convert(
    src: Path,
    out: Path,
    *,
    name: str | None = None,
    val_labels: Path | None = None,
    workers: int = 1,
    print_line: Callable[[str], None] = lambda _line: None,
) -> Conversion:
    """Convert a tree of class folders.

    Args:
        src: folder with train/ and val/, or with Data/CLS-LOC/train and val.
        out: new folder; gets annotations/instances_<split>.json and card.json. Images stay where they are.
        name: name of the data set; that of `out` by default.
        val_labels: list of the labels of val/, where it has no class folders; None: the devkit's, if SRC has it.
        workers: processes that read headers.
        print_line: called with the progress.

    Raises:
        InvalidDataset: images that cannot be read; nothing is written.
        InputError: a folder or list is missing; `out` holds something else; the name is that of another data set.
    """
    src, out = Path(src), Path(out)
    root = src / INSIDE if (src / INSIDE / "train").is_dir() else src
    classes = class_folders(root / "train")
    if not classes:
        raise InputError(f"{root / 'train'} has no folder; SRC has to hold train/CLASS/IMAGE and val/")
    label = name or out.name
    _check_name(label, classes)
    listed = {
        "train": images_by_class(root / "train", classes),
        "val": _validation(src, root / "val", classes, val_labels),
    }
    return write_converted(
        out,
        {split: _images(images, workers, print_line) for split, images in listed.items()},
        {split: images.folder for split, images in listed.items()},
        src=src,
        name=label,
        classes=classes,
        source={"maker": "c2d data imagenet", "name": label},
        images="reference",
        notes=[
            f"{images.folder}: {len(images.others)} files are no images (first: {images.others[0]}) and left out"
            for images in listed.values()
            if images.others
        ],
    )


def _check_name(name: str, classes: Sequence[str]) -> None:
    """Refuse the name of a public data set with other classes before a million headers are read."""
    public = public_cards().get(name)
    if public is not None and list(classes) != public.classes:
        raise InputError(
            f"{name} is the name of a public data set with {len(public.classes)} classes ({public.classes[0]}, ...), "
            f"and train/ has {len(classes)} ({classes[0]}, ...); give another one with --name"
        )


def _validation(src: Path, folder: Path, classes: Sequence[str], labels: Path | None) -> ListedSplit:
    """The images of val/, labelled by their folders or by a list."""
    if class_folders(folder):
        if labels is not None:
            raise InputError(f"{folder} has class folders, which are the labels; leave --val-labels out")
        return images_by_class(folder, classes)
    if labels is None and (src / DEVKIT).is_file():
        labels = src / DEVKIT
    if labels is None:
        raise InputError(
            f"{folder} has no class folders; give the list of its labels: --val-labels FILE with lines NAME CLASS, or "
            f"the devkit's {DEVKIT.name} beside its meta.mat"
        )
    return labelled_images(folder, read_labels(labels, classes, image_files(folder)[0]))


def _images(listed: ListedSplit, workers: int, print_line: Callable[[str], None]) -> list[ConvertedImage]:
    names = [image for image, _ in listed.images]
    sizes = header_sizes(listed.folder, names, workers, print_line)
    images, broken = [], []
    for (name, label), size in zip(listed.images, sizes, strict=True):
        if isinstance(size, str):
            broken.append(f"{listed.folder / name}: {size}")
        else:
            images.append(ConvertedImage(name, size, [LabelledBox(label, (0, 0, *size))]))
    if broken or not names:
        raise InvalidDataset(f"{listed.folder} cannot be converted", broken or [f"no image in {listed.folder}"])
    return images
