"""KITTI's 2D objects to COCO: boxes by hand, regions that are ignored, the split, and every defect of a label file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from c2d.cli.data_commands import app
from c2d.core.errors import InputError
from c2d.data.card_lookup import load_card, verify_card
from c2d.data.coco.check_coco import check_coco
from c2d.data.conversion.random_split import random_split
from c2d.data.issues import InvalidDataset
from c2d.data.kitti.convert_kitti import convert_kitti
from tests.c2d.data.voc_folder import noise, rows

IN_SPACE = "1.5 1.6 3.7 -1.0 1.6 20.0 -1.5"
DONT_CARE = "DontCare -1 -1 -10 1.00 2.00 11.00 22.00 -1 -1 -1 -1000 -1000 -1000 -10"


def line(kind: str, box: tuple[float, ...] = (5, 6, 25, 30), truncated: Any = "0.25", occluded: Any = 1) -> str:
    """A line of a label file."""
    return f"{kind} {truncated} {occluded} -1.57 {' '.join(f'{value:.2f}' for value in box)} {IN_SPACE}"


def write_kitti(root: Path, labels: dict[str, list[str]], folders: tuple[str, str] = ("", "")) -> Path:
    """Write a label file and an image of 64 x 48 pixels for each id, and the lists train.txt (first id) and val.txt."""
    images, texts = root / folders[0] / "training/image_2", root / folders[1] / "training/label_2"
    for folder in (images, texts):
        folder.mkdir(parents=True)
    for seed, (name, lines) in enumerate(labels.items()):
        noise(seed).save(images / f"{name}.png")
        (texts / f"{name}.txt").write_text("\n".join(lines) + "\n")
    first, *others = labels
    (root / "train.txt").write_text(first)
    (root / "val.txt").write_text("\n".join(others))
    return root


@pytest.fixture
def src(tmp_path: Path) -> Path:
    """Two images; the first has every kind of object."""
    first = [line("Car"), line("Van", (30, 6, 50, 30)), line("Person_sitting", (2, 2, 9, 9)), line("Truck"), DONT_CARE]
    return write_kitti(tmp_path / "kitti", {"000000": first, "000001": [line("Cyclist", truncated=0, occluded=3)]})


def convert(src: Path, out: Path, **options: Any) -> Any:
    """Convert with the lists of `write_kitti`."""
    return convert_kitti(src, out, **({"train": src / "train.txt", "val": src / "val.txt"} | options))


def test_boxes_and_ignored_regions(src: Path, tmp_path: Path) -> None:
    done = convert(src, tmp_path / "out")
    found = [(row["category_id"], row["bbox"], row["iscrowd"], row["protocol"]) for row in rows(tmp_path / "out")]
    facts = {"truncated": 0.25, "occluded": 1}
    assert found == [
        (1, [5, 6, 20, 24], 0, {"type": "Car", **facts}),
        (1, [30, 6, 20, 24], 1, {"type": "Van", **facts}),
        (2, [2, 2, 7, 7], 1, {"type": "Person_sitting", **facts}),
        (1, [1, 2, 10, 20], 1, {"type": "DontCare"}),
        (2, [1, 2, 10, 20], 1, {"type": "DontCare"}),
        (3, [1, 2, 10, 20], 1, {"type": "DontCare"}),
    ]
    assert done.notes == [
        "objects of other types are left out and background: 1 Truck",
        "Person_sitting objects are ignored regions of Pedestrian; --merge Person_sitting=Pedestrian makes them boxes "
        "of it",
        "Van objects are ignored regions of Car; --merge Van=Car makes them boxes of it",
    ]
    only_cyclists = write_kitti(tmp_path / "few", {"000000": [line("Cyclist")], "000001": [line("Cyclist")]})
    assert convert(only_cyclists, tmp_path / "few-out").notes == []  # notes are about objects that the files have
    assert done.card.classes == ["Car", "Pedestrian", "Cyclist"]
    assert done.card.protocol == "kitti"
    loaded = load_card(str(tmp_path / "out"))
    verify_card(loaded)
    report = check_coco([(loaded.annotations(split), loaded.images(split)) for split in loaded.card.splits])
    assert not report.errors


def test_merges_and_other_classes(src: Path, tmp_path: Path) -> None:
    merge = {"Van": "Car", "Person_sitting": "Pedestrian"}
    one = convert(src, tmp_path / "one", merge=merge)
    assert [(row["category_id"], row["iscrowd"]) for row in rows(tmp_path / "one")][:3] == [(1, 0), (1, 0), (2, 0)]
    assert one.card.source["merge"] == {"Person_sitting": "Pedestrian", "Van": "Car"}
    assert one.notes[1:] == [
        "Person_sitting objects are boxes of Pedestrian; COCO's numbers count them, KITTI's own ignore them as "
        "Person_sitting",
        "Van objects are boxes of Car; COCO's numbers count them, KITTI's own ignore them as Van",
    ]
    truck = convert(src, tmp_path / "truck", merge={"Truck": "Car"})
    assert "KITTI's own have no Truck: a detection of one is wrong there" in truck.notes[-2]
    # A merged type is a class of its own name; the neighbour follows its type, and regions are those of all classes.
    two = convert(src, tmp_path / "two", classes=["Vehicle", "Cyclist"], merge={"Car": "Vehicle", "Truck": "Vehicle"})
    found = [(row["protocol"]["type"], row["category_id"], row["iscrowd"]) for row in rows(tmp_path / "two")]
    dont_care = [("DontCare", 1, 1), ("DontCare", 2, 1)]
    assert found == [("Car", 1, 0), ("Van", 1, 1), ("Truck", 1, 0), *dont_care]
    assert "Car objects are boxes of Vehicle; KITTI's own numbers have no class Vehicle" in two.notes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ["Car", "Bus"]}, "unknown class 'Bus'"),
        ({"classes": ["Car", "Car"]}, "each once"),
        ({"merge": {"van": "Car"}}, "unknown type of --merge 'van'; did you mean 'Van'"),
        ({"merge": {"Van": "Vehicle"}}, "unknown class of --merge 'Vehicle'"),
        ({"merge": {"Pedestrian": "Car"}}, "Pedestrian is a class of its own"),
        ({"merge": {"DontCare": "Car"}}, "unknown type of --merge 'DontCare'"),
        ({"val": None}, "the split has to be stated"),
        ({"val_share": 0.5}, "the split has to be stated"),
        ({"train": None, "val": None, "val_share": 1.5}, "wanted a share above 0 and below 1"),
        ({"train": None, "val": None, "val_share": 0.01}, "both splits need one"),
        ({"train": Path("none.txt")}, "no file none.txt; wanted a list of image ids"),
    ],
)
def test_options_that_do_not_fit(src: Path, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        convert(src, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ("", "no image id"),
        ("000000\n000000", "has 000000 twice"),
        ("7", r"has 7 \(1 such ids\) without label file"),
        ("000001", "000001 is in both lists"),
    ],
)
def test_lists_that_cannot_be_used(src: Path, tmp_path: Path, ids: str, message: str) -> None:
    (src / "train.txt").write_text(ids)
    with pytest.raises(InputError, match=message):
        convert(src, tmp_path / "out")


def test_a_random_split_depends_on_names_share_and_seed_alone() -> None:
    names = [f"{number:06d}" for number in range(10)]
    parts = random_split(names, 0.3, seed=0)
    assert parts["val"] == ["000000", "000002", "000007"]  # the smallest sha256 of "0:000000", "0:000001", ...
    assert sorted(parts["train"] + parts["val"]) == names
    assert random_split(names, 0.3, seed=1) != parts


def test_every_defect_is_reported_with_file_and_line(src: Path, tmp_path: Path) -> None:
    lines = [
        line("car"),
        line("Car", truncated="1.5"),
        line("Car", occluded=4),
        line("Car") + " 0.98",
        "7 3 " + line("Car"),
        "Car 0 0 -1 1 2",
        line("Car", truncated="nan"),
    ]
    (src / "training/label_2/000000.txt").write_text("\n\n".join(lines))
    (src / "training/label_2/000001.txt").write_bytes(b"\xff")
    with pytest.raises(InvalidDataset) as caught:
        convert(src, tmp_path / "out")
    issues = caught.value.issues
    assert [issue.split(": ")[1] for issue in issues[:7]] == [f"line {number}" for number in range(1, 14, 2)]
    for issue, text in zip(
        issues,
        (
            "unknown type 'car'; did you mean 'Car'",
            "truncated is 1.5; wanted a share from 0 to 1",
            "occluded is 4; wanted 0, 1, 2 or 3",
            "a detection with its score, not a label",
            "of the tracking benchmark",
            "has 6 columns; wanted 15",
            "truncated is 'nan'; wanted a number",
            "000001.txt: cannot be read",
        ),
        strict=True,
    ):
        assert text in issue
    assert not (tmp_path / "out").exists()


def test_dropped_and_clipped_boxes_are_listed(src: Path, tmp_path: Path) -> None:
    boxes = [(5, 6, 25, 30), (5, 6, 25, 30), (9, 9, 9, 20), (70, 5, 80, 9), (50, 40, 70, 60)]
    (src / "training/label_2/000000.txt").write_text("\n".join(line("Car", box) for box in boxes))
    done = convert(src, tmp_path / "out")
    assert [row["bbox"] for row in rows(tmp_path / "out")] == [[5, 6, 20, 24], [50, 40, 14, 8]]
    assert done.notes[:4] == [
        "000000.txt: line 2 (Car, left 5 top 6 right 25 bottom 30) dropped: it repeats line 1",
        "000000.txt: line 3 (Car, left 9 top 9 right 9 bottom 20) dropped: no width or height",
        "000000.txt: line 4 (Car, left 70 top 5 right 80 bottom 9) dropped: outside the image of 64 x 48",
        "000000.txt: line 5 (Car, left 50 top 40 right 70 bottom 60) clipped to the image of 64 x 48",
    ]


def test_images_that_are_missing_or_in_both_splits(src: Path, tmp_path: Path) -> None:
    images = src / "training/image_2"
    (images / "000001.png").write_bytes((images / "000000.png").read_bytes())
    with pytest.raises(InvalidDataset, match="a leak between splits"):
        convert(src, tmp_path / "out")
    (images / "000001.png").unlink()
    with pytest.raises(InvalidDataset, match=r"000001\.txt: its image 000001\.png does not exist"):
        convert(src, tmp_path / "out")


def test_the_command_with_archives_in_folders_of_their_own(tmp_path: Path) -> None:
    labels = {f"00000{number}": [line("Car"), line("Pedestrian", (30, 6, 50, 30))] for number in range(4)}
    src = write_kitti(tmp_path / "kitti", labels, ("data_object_image_2", "data_object_label_2"))
    arguments = ["kitti", str(src), str(tmp_path / "out"), "--val-share", "0.5", "--merge", "Van=Car"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "3 classes, train 2 images 4 boxes, val 2 images 4 boxes" in result.output
    assert "frames of one drive" in result.output
    assert load_card(str(tmp_path / "out")).card.source["split"] == {"val_share": 0.5, "seed": 0}  # type: ignore[index]
    assert CliRunner().invoke(app, [*arguments[:-1], "Van"]).exception is not None
    assert CliRunner().invoke(app, ["check", str(tmp_path / "out")]).exit_code == 0


def test_boxes_that_are_corner_and_size_are_named_where_none_is_left(src: Path, tmp_path: Path) -> None:
    for path in (src / "training" / "label_2").iterdir():
        path.write_text("Car 0 0 0 30 30 20 10 1 1 1 0 0 0 0\n")
    with pytest.raises(
        InvalidDataset, match=r"no object of the classes .* were dropped or clipped, the first: .*line 1"
    ):
        convert(src, tmp_path / "out")
