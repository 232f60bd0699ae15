"""Trees with a folder for each class as data sets: labels, sizes as training reads them, names of public sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from c2d.cli.main import main
from c2d.core.errors import InputError
from c2d.data.card_lookup import load_card, verify_card
from c2d.data.coco_file import read_coco
from c2d.data.decoding.decoder import read_image
from c2d.data.imagenet.convert_imagenet import convert
from c2d.data.imagenet.header_sizes import CHUNK, header_sizes
from c2d.data.issues import InvalidDataset
from c2d.data.public import public_cards
from c2d.specs.resolve_spec import resolve_spec

CLASSES = ("n01", "n02", "n10")


def save(
    path: Path, width: int = 12, height: int = 8, mode: str = "RGB", form: str = "JPEG", **options: object
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (width, height)).save(path, form, **options)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two training images and one of validation a class, with the oddities of ImageNet."""
    src = tmp_path / "src"
    turned = Image.Exif()
    turned[0x112] = 6
    for place, name in enumerate(CLASSES):
        save(src / "train" / name / f"{name}_1.JPEG", 40 + place, 36)
        save(src / "val" / name / f"val_{9 - place}.JPEG", 30, 15 + place)
    save(src / "train" / "n01" / "n01_2.JPEG", 7, 5, mode="CMYK")
    save(src / "train" / "n02" / "n02_2.JPEG", 9, 6, form="PNG")
    save(src / "train" / "n10" / "n10_2.JPEG", 16, 8, exif=turned)
    (src / "train" / "n10" / "README.txt").write_text("no image")
    return src


def flat(tree: Path) -> list[str]:
    """Move the validation images out of their folders; return their names, sorted."""
    val = tree / "val"
    for name in CLASSES:
        for path in list((val / name).iterdir()):
            path.rename(val / path.name)
        (val / name).rmdir()
    return sorted(path.name for path in val.iterdir())


def labels_of(out: Path) -> dict[str, str]:
    coco = read_coco(out / "annotations" / "instances_val.json")
    names = {row["id"]: row["name"] for row in coco["categories"]}
    files = {row["id"]: Path(row["file_name"]).name for row in coco["images"]}
    return {files[row["image_id"]]: names[row["category_id"]] for row in coco["annotations"]}


def test_each_image_is_one_box_of_the_size_that_training_reads(tree: Path, tmp_path: Path) -> None:
    done = convert(tree, tmp_path / "out", name="pictures")
    assert done.card.classes == list(CLASSES)
    assert [done.card.splits[name].n_boxes for name in ("train", "val")] == [6, 3]
    assert len(done.notes) == 1
    assert "README.txt" in done.notes[0]
    coco = read_coco(tmp_path / "out" / "annotations" / "instances_train.json")
    assert [Path(row["file_name"]).name for row in coco["images"]] == [f"{n}_{i}.JPEG" for n in CLASSES for i in (1, 2)]
    for image, box in zip(coco["images"], coco["annotations"], strict=True):
        height, width = read_image(tree / "train" / image["file_name"]).shape[:2]
        assert (image["width"], image["height"]) == (width, height)
        assert box["bbox"] == [0, 0, width, height]
        assert CLASSES[box["category_id"] - 1] == image["file_name"].split("/")[0]
    assert (coco["images"][5]["width"], coco["images"][5]["height"]) == (8, 16)  # turned by its EXIF
    verify_card(load_card(str(tmp_path / "out")))
    assert convert(tree, tmp_path / "out", name="pictures").card == done.card


def test_labels_of_a_flat_folder(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = flat(tree)
    wanted = dict(zip(names, ("n10", "n02", "n01"), strict=True))
    lists = {
        "names.txt": "".join(f"{name} {label}\n" for name, label in wanted.items()),
        "kaggle.csv": "ImageId,PredictionString\n"
        + "".join(f"{Path(name).stem},{label} 1 2 3 4\n" for name, label in wanted.items()),
        "caffe.txt": "".join(f"{name} {CLASSES.index(label)}\n" for name, label in wanted.items()),
    }
    for file, text in lists.items():
        (tmp_path / file).write_text(text)
        convert(tree, tmp_path / f"out-{file}", val_labels=tmp_path / file)
        assert labels_of(tmp_path / f"out-{file}") == wanted
    with pytest.raises(InputError, match="give the list of its labels"):
        convert(tree, tmp_path / "none")
    (tmp_path / "short.txt").write_text(f"{names[0]} n01\n")
    with pytest.raises(InputError, match="2 images without a label"):
        convert(tree, tmp_path / "none", val_labels=tmp_path / "short.txt")
    (tmp_path / "other.txt").write_text(lists["names.txt"].replace("n02", "n77"))
    with pytest.raises(SystemExit) as stop:
        main(["data", "imagenet", str(tree), str(tmp_path / "none"), "--val-labels", str(tmp_path / "other.txt")])
    assert stop.value.code == 2
    assert "'n77'" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_labels_of_the_devkit(tree: Path, tmp_path: Path) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    names = flat(tree)
    folder = tree / "ILSVRC2012_devkit_t12" / "data"
    folder.mkdir(parents=True)
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text("2\n3\n1\n")
    rows = np.array([(2, "n10"), (1, "n01"), (3, "n02"), (1001, "n99")], dtype=[("ILSVRC2012_ID", "i4"), ("WNID", "O")])
    scipy_io.savemat(folder / "meta.mat", {"synsets": rows.reshape(-1, 1)})
    convert(tree, tmp_path / "out")
    assert labels_of(tmp_path / "out") == dict(zip(names, ("n10", "n02", "n01"), strict=True))


def test_refusals(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name of a public data set with 1000 classes"):
        convert(tree, tmp_path / "imagenet")
    (tree / "train" / "n01" / "n01_3.JPEG").write_bytes(b"no picture")
    with pytest.raises(InvalidDataset, match=r"1 problem .*n01_3.JPEG"):
        convert(tree, tmp_path / "out")
    (tree / "val" / "n44").mkdir()
    with pytest.raises(InputError, match="1 folders are of no class"):
        convert(tree, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_processes_read_the_same_sizes(tmp_path: Path) -> None:
    names = [f"{number}.JPEG" for number in range(CHUNK + 3)]
    for number, name in enumerate(names[:5]):
        save(tmp_path / name, 8 + number, 8)
    for name in names[5:]:
        (tmp_path / name).hardlink_to(tmp_path / names[0])
    alone, several = (header_sizes(tmp_path, names, workers, print) for workers in (1, 2))
    assert several == alone
    assert alone[:6] == [(8, 8), (9, 8), (10, 8), (11, 8), (12, 8), (8, 8)]


def test_ids_on_imagenet_exist_without_files(tmp_path: Path) -> None:
    card = public_cards()["imagenet"]
    assert (len(card.classes), card.classes[0], card.classes[-1]) == (1000, "n01440764", "n15075141")
    assert card.classes == sorted(card.classes)
    assert [split.n_images for split in card.splits.values()] == [1281167, 50000]
    assert "`c2d data imagenet SRC data/imagenet --name imagenet`" in card.files_text("data/imagenet")
    values = {"dataset": "imagenet", "network": "student:faster-rcnn-qr50", "schedule": "imagenet"}
    spec = resolve_spec(values, where="test", runs=tmp_path / "runs", data=tmp_path)
    assert spec.dataset.digest == card.digest
