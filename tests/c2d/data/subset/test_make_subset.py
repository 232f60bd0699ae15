"""Subsets of training images: what stays, what changes, nesting, links, and every mistake of the command."""

from __future__ import annotations

import errno
import itertools
import json
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from c2d.cli.data_commands import app
from c2d.core.errors import InputError
from c2d.data.card import Card
from c2d.data.card_lookup import load_card, verify_card
from c2d.data.coco.check_card import splits_of_card
from c2d.data.coco.check_coco import check_coco
from c2d.data.coco_file import read_coco
from c2d.data.make_card import make_card
from c2d.data.subset.make_subset import make_subset
from c2d.data.subset.subset_size import read_size

TRAIN, VAL = 20, 4


def _row(number: int, image: int, category: int, **more: Any) -> dict[str, Any]:
    box = [4, 4, 20, 20]
    difficult = {"protocol": {"difficult": 0}}
    return {"id": number, "image_id": image, "category_id": category, "bbox": box, "area": 400, "iscrowd": 0,
            **difficult, **more}  # fmt: skip


def _write_split(root: Path, split: str, images: range) -> tuple[Path, Path]:
    """Image i has the class ant; the last one alone has bee; the first is without boxes; wasps are crowds alone."""
    (root / split / "deep").mkdir(parents=True)
    rng = np.random.default_rng(images.start)
    rows: list[dict[str, Any]] = []
    names = {image: f"deep/{split}_{image:03d}.png" for image in images}
    for image, name in names.items():
        Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(root / split / name)
        rows += [_row(2 * image, image, 3)] * (image != images.start)
        rows += [_row(2 * image + 1, image, 9, iscrowd=1, protocol={"difficult": 1})] * (image % 2)
    rows.append(_row(9_000 + images.start, images[-1], 7))
    coco = {
        "info": {"description": "insects"},
        "licenses": [{"id": 1, "name": "CC BY 4.0"}],
        "images": [{"id": i, "file_name": name, "width": 48, "height": 40, "license": 1} for i, name in names.items()],
        "annotations": rows,
        "categories": [{"id": 3, "name": "ant"}, {"id": 7, "name": "bee"}, {"id": 9, "name": "wasp"}],
    }
    path = root / f"{split}.json"
    path.write_text(json.dumps(coco))
    return path, root / split


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with 20 training images, evaluated on `valid` with VOC's numbers too."""
    root = tmp_path_factory.mktemp("insects")
    files = {"train": _write_split(root, "train", range(1, TRAIN + 1)),
             "valid": _write_split(root, "valid", range(101, 101 + VAL))}  # fmt: skip
    make_card(root, "insects", ["ant", "bee", "wasp"], files, {"maker": "hand"}, "valid", protocol="voc")
    (root / "LICENSE.txt").write_text("CC BY 4.0")
    return root


def _drawn(card: Card, out: Path) -> set[str]:
    return {row["file_name"] for row in read_coco(out / card.splits["train"].annotations)["images"]}


def test_the_evaluation_stays_and_the_training_is_a_part(whole: Path, tmp_path: Path) -> None:
    done = make_subset(str(whole), tmp_path / "few", train="25%", seed=3)
    card, before = done.card, load_card(str(whole)).card
    assert (card.name, card.splits["train"].n_images) == ("insects-train5-seed3", 5)
    assert (card.evaluation_split, card.protocol, card.classes) == ("valid", "voc", before.classes)
    assert card.splits["valid"].digest == before.splits["valid"].digest
    assert card.digest != before.digest
    assert (tmp_path / "few/annotations/instances_valid.json").read_bytes() == (whole / "valid.json").read_bytes()
    assert card.source == {
        "maker": "c2d data subset", "name": "insects-train5-seed3",
        "of": {"name": "insects", "digest": before.digest, "source": {"maker": "hand"}},
        "train": {"images": 5, "of": 20, "share": 0.25, "seed": 3},
    }  # fmt: skip
    assert (tmp_path / "few/LICENSE.txt").read_text() == "CC BY 4.0"
    loaded = load_card(str(tmp_path / "few"))
    verify_card(loaded)
    splits = splits_of_card(loaded)
    report = check_coco(list(splits.values()), evaluated=[splits["valid"][0]])
    assert not report.errors
    coco, original = read_coco(loaded.annotations("train")), read_coco(whole / "train.json")
    ids = {row["id"] for row in coco["images"]}
    assert coco["annotations"] == [row for row in original["annotations"] if row["image_id"] in ids]
    assert any(row["iscrowd"] for row in coco["annotations"])
    assert (coco["licenses"], coco["info"]) == (original["licenses"], original["info"])


def test_no_class_that_can_be_learned_is_lost(whole: Path, tmp_path: Path) -> None:
    """The only bee is in image 20, with an ant. Wasps are crowd regions, which teach no class."""
    for seed in range(3):
        done = make_subset(str(whole), tmp_path / f"one-{seed}", train="1", seed=seed)
        assert _drawn(done.card, tmp_path / f"one-{seed}") == {"deep/train_020.png"}
        assert done.notes == []


def test_all_images_are_the_same_data_set(whole: Path, tmp_path: Path) -> None:
    assert make_subset(str(whole), tmp_path / "all", train="100%").card.digest == load_card(str(whole)).card.digest


@pytest.mark.parametrize("seed", [0, 1])
def test_smaller_subsets_lie_inside_larger_ones(whole: Path, tmp_path: Path, seed: int) -> None:
    drawn = []
    for size in ("2", "10%", "0.3", "11", "1.0"):
        out = tmp_path / size.rstrip("%")
        drawn.append(_drawn(make_subset(str(whole), out, train=size, seed=seed).card, out))
    assert [len(names) for names in drawn] == [2, 2, 6, 11, 20]
    assert all(small <= large for small, large in itertools.pairwise(drawn))


def test_classes_that_do_not_fit_are_named(tmp_path: Path) -> None:
    root = tmp_path / "whole"
    files = {split: _write_split(root, split, images) for split, images in
             (("train", range(1, 6)), ("val", range(11, 13)))}  # fmt: skip
    coco = json.loads(files["train"][0].read_text())
    coco["annotations"] = [_row(n, n, category) for n, category in ((1, 3), (2, 7), (3, 9), (4, 9), (5, 9))]
    files["train"][0].write_text(json.dumps(coco))
    make_card(root, "apart", ["ant", "bee", "wasp"], files, protocol="voc")
    done = make_subset(str(root), tmp_path / "few", train="2")
    (note,) = done.notes
    assert note.startswith("1 of 3 classes have no box to train on in these 2 images: ")
    assert note.endswith("with this seed all have one from --train 3 on")
    assert make_subset(str(root), tmp_path / "three", train="3").notes == []


def test_images_are_hard_links_or_copies_and_lead_nowhere(whole: Path, tmp_path: Path) -> None:
    src = tmp_path / "linked"
    (src / "train/deep").mkdir(parents=True)
    (src / "valid").symlink_to(whole / "valid")
    for image in (whole / "train/deep").iterdir():
        (src / "train/deep" / image.name).symlink_to(image)
    files = {split: (whole / f"{split}.json", src / split) for split in ("train", "valid")}
    make_card(src, "insects", ["ant", "bee", "wasp"], files, "", "valid", protocol="voc")
    for how in ("hardlink", "copy"):
        out = tmp_path / how
        make_subset(str(src), out, train="3", images="hardlink" if how == "hardlink" else "copy")
        images = list(out.rglob("*.png"))
        assert len(images) == 3 + VAL
        assert not any(path.is_symlink() for path in out.rglob("*"))
        assert {path.stat().st_ino == (whole / path.parts[-3] / "deep" / path.name).stat().st_ino
                for path in images} == {how == "hardlink"}  # fmt: skip


def test_without_hard_links_the_images_are_copied(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    done = make_subset(str(whole), tmp_path / "few", train="3")
    assert done.notes[-1] == "valid: 4 of 4 images are copies, not hard links (Invalid cross-device link)"
    assert len(list((tmp_path / "few/images/train").rglob("*.png"))) == 3


def test_the_same_command_finds_its_card_and_another_is_refused(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "few"
    first = make_subset(str(whole), out, train="10%")
    assert make_subset(str(whole), out, train="2").card == first.card  # 2 of 20 images in another form
    with pytest.raises(InputError, match=r"holds the data set 'insects-train2-seed0' made with other options"):
        make_subset(str(whole), out, train="2", seed=1)


def test_a_subset_of_a_subset_keeps_its_history(whole: Path, tmp_path: Path) -> None:
    make_subset(str(whole), tmp_path / "half", train="50%", name="half")
    source = make_subset(str(tmp_path / "half"), tmp_path / "few", train="2").card.source
    assert isinstance(source, dict)
    assert (source["of"]["name"], source["of"]["source"]["of"]["name"]) == ("half", "insects")


def _run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["subset", *arguments])
    return done.exit_code, str(done.exception)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ("0", "--train '0'; wanted a share as 0.1 or 10%, or a number of images as 30"),
        ("0%", "--train 0% is no share"),
        ("0.0", "--train 0.0 is no share"),
        ("1.5", "--train 1.5 is no share: wanted above 0 and at most 1"),
        ("101%", "--train 101% is no share"),
        ("21", "--train 21 is more than the 20 training images there are"),
        ("1%", "--train 1% of 20 training images is no image"),
        ("some", "--train 'some'; wanted"),
        ("-3", "--train '-3'; wanted"),
        ("nan", "--train 'nan'; wanted"),
    ],
)
def test_a_size_that_cannot_be_drawn_is_refused(whole: Path, tmp_path: Path, size: str, message: str) -> None:
    code, error = _run(str(whole), str(tmp_path / "few"), f"--train={size}")
    assert code != 0
    assert message in error
    assert not (tmp_path / "few").exists()


def test_other_mistakes_are_refused(whole: Path, tmp_path: Path) -> None:
    assert "unknown data set 'nowhere'" in _run("nowhere", str(tmp_path / "few"), "--train=3")[1]
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/file").write_text("")
    assert "holds other files (first: file)" in _run(str(whole), str(tmp_path / "taken"), "--train=3")[1]
    card = json.loads((whole / "card.json").read_text())
    for change, message in (
        ({"splits": {"valid": card["splits"]["valid"]}}, "has no split 'train' to draw from; its splits: valid"),
        ({"splits": {**card["splits"], "../out": card["splits"]["valid"]}}, "cannot be the name of a folder"),
        ({"digest": "0" * 64}, "its digest does not belong to its splits"),
    ):
        place = tmp_path / str(len(list(tmp_path.iterdir())))
        place.mkdir()
        absolute = {s: {**e, **{k: str(whole / e[k]) for k in ("annotations", "images")}}
                    for s, e in {**card, **change}["splits"].items()}  # fmt: skip
        (place / "card.json").write_text(json.dumps({**card, **change, "splits": absolute}))
        assert message in _run(str(place), str(tmp_path / "few"), "--train=3")[1]


def test_images_that_are_missing_or_outside_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "whole"
    files = {split: _write_split(root, split, images) for split, images in
             (("train", range(1, 4)), ("val", range(11, 13)))}  # fmt: skip
    make_card(root, "small", ["ant", "bee", "wasp"], files, protocol="voc")
    (root / "val/deep/val_012.png").unlink()
    with pytest.raises(InputError, match=r"split val: 1 of 2 images are missing, the first .*val_012.png"):
        make_subset(str(root), tmp_path / "few", train="2")
    coco = json.loads(files["train"][0].read_text())
    for row in coco["images"]:
        row["file_name"] = "../train/" + row["file_name"]
    files["train"][0].write_text(json.dumps(coco))
    make_card(root, "small", ["ant", "bee", "wasp"], files, protocol="voc")
    with pytest.raises(InputError, match="is outside the folder of the others"):
        make_subset(str(root), tmp_path / "few", train="2")
    assert not (tmp_path / "few").exists()


@given(st.integers(1, 10**6), st.integers(1, 10**4))
@settings(max_examples=50, deadline=None)
def test_a_share_and_its_percent_are_one_number(total: int, basis_points: int) -> None:
    share = Fraction(basis_points, 10_000)
    forms = [f"{basis_points / 10_000:.4f}", f"{basis_points / 100:.2f}%"]
    assert {read_size(form).share for form in forms} == {share}
    if share * total > Fraction(1, 2):
        assert {read_size(form).of(total) for form in forms} == {round(share * total)}


@given(st.text("0123456789.%+-e \u0661x", max_size=8))
@settings(max_examples=50, deadline=None)
def test_a_text_is_a_size_or_an_error(text: str) -> None:
    try:
        found = read_size(text)
    except InputError as error:
        assert str(error).startswith("--train")  # noqa: PT017
    else:
        assert (found.share is None) != (found.number is None)


def test_real_photographs(shared_data: Path, tmp_path: Path) -> None:
    coco = shared_data / "coco_mini"
    files = {s: (coco / f"annotations/instances_{s}2017.json", coco / f"{s}2017") for s in ("train", "val")}
    names = [row["name"] for row in read_coco(files["train"][0])["categories"]]
    card = make_card(tmp_path, "coco-mini", names, files)
    done = make_subset(str(tmp_path), tmp_path / "few", train="50%", seed=1)
    assert done.card.splits["val"].digest == card.splits["val"].digest
    assert done.notes == []  # 71 classes in 64 images
