"""Procedural scenes: the same seed is the same data set, and it has what a detection data set needs."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from c2d.core.errors import InputError
from c2d.data.card_lookup import load_card, verify_card
from c2d.data.coco.check_coco import check_coco
from c2d.data.scenes.make_scenes import draw_scene, make_scenes
from c2d.data.scenes.scene_objects import SPECIES, draw_beetle


def _files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_equal_seeds_are_byte_equal_and_other_seeds_are_not(tmp_path: Path) -> None:
    card = make_scenes(tmp_path / "one", train=6, val=4)
    assert make_scenes(tmp_path / "two", train=6, val=4) == card
    assert _files(tmp_path / "one") == _files(tmp_path / "two")
    assert make_scenes(tmp_path / "three", train=6, val=4, seed=1).digest != card.digest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "three", "two"]


def test_an_image_does_not_depend_on_the_number_of_images(tmp_path: Path) -> None:
    make_scenes(tmp_path / "few", train=2, val=1)
    make_scenes(tmp_path / "more", train=5, val=3)
    few, more = _files(tmp_path / "few"), _files(tmp_path / "more")
    pictures = [name for name in few if name.endswith(".png")]
    assert len(pictures) == 3
    assert all(few[name] == more[name] for name in pictures)


def test_splits_share_no_image_and_the_check_passes(tmp_path: Path) -> None:
    out = tmp_path / "scenes"
    card = make_scenes(out, train=12, val=8)
    assert card.classes == list(SPECIES)
    assert len(card.classes) >= 8
    verify_card(load_card(str(out)))
    files = [(out / f"annotations/instances_{split}.json", out / split) for split in ("train", "val")]
    assert check_coco(files).errors == []
    coco = json.loads((out / "annotations/instances_train.json").read_text())
    assert len(coco["images"]) == 12 == len(list((out / "train").iterdir()))
    picture = cv2.imread(str(out / "train" / coco["images"][0]["file_name"]))
    assert picture is not None
    assert picture.shape == (160, 160, 3)


def test_statistics_of_the_set() -> None:
    drawn = [draw_scene(160, 0, "train", index)[1] for index in range(250)]
    boxes = [item for objects in drawn for item in objects if not item["iscrowd"]]
    crowds = [item for objects in drawn for item in objects if item["iscrowd"]]
    areas = np.array([(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (item["box"] for item in boxes)])
    small, large = (areas < 32**2).mean(), (areas > 96**2).mean()
    assert 0.2 < small < 0.6
    assert 0.01 < large < 0.15
    assert areas.min() > 11**2  # no object is too small to be recognised
    assert 0.02 < sum(not objects for objects in drawn) / 250 < 0.09
    assert 2 <= len(crowds) <= 20
    assert len(boxes) > 800
    counts = np.bincount([item["category"] for item in boxes], minlength=len(SPECIES))
    assert counts.min() > 20
    assert 2 < counts.max() / counts.min() < 6
    for x1, y1, x2, y2 in (item["box"] for objects in drawn for item in objects):
        assert 0 <= x1 < x2 <= 160
        assert 0 <= y1 < y2 <= 160


def test_species_share_silhouette_and_differ_in_marking() -> None:
    sprites = {name: draw_beetle(name, 60, 0.3, np.random.default_rng(0)) for name in SPECIES}
    first = sprites["banded"]
    for sprite in sprites.values():
        np.testing.assert_array_equal(sprite.alpha, first.alpha)
        assert sprite.extent == first.extent
    names = list(sprites)
    for i, one in enumerate(names):
        for other in names[:i]:
            assert np.abs(sprites[one].rgb - sprites[other].rgb).mean() > 2


@pytest.mark.parametrize("length", [12, 16.5, 39, 41, 100])
@pytest.mark.parametrize("angle", [0.0, 0.7, 3.0])
def test_extent_encloses_exactly_what_is_drawn(length: float, angle: float) -> None:
    sprite = draw_beetle("ringed", length, angle, np.random.default_rng(0))
    rows, columns = np.flatnonzero(sprite.alpha.any(1)), np.flatnonzero(sprite.alpha.any(0))
    x1, y1, x2, y2 = sprite.extent
    assert (int(x1), int(y1)) == (columns[0], rows[0])
    assert (int(np.ceil(x2)), int(np.ceil(y2))) == (columns[-1] + 1, rows[-1] + 1)
    assert sprite.alpha[0].max() == sprite.alpha[-1].max() == 0  # nothing is cut at the sprite's border


def test_equal_settings_are_reused_and_others_refused(tmp_path: Path) -> None:
    out = tmp_path / "scenes"
    card = make_scenes(out, train=2, val=1)
    before = _files(out)
    assert make_scenes(out, train=2, val=1) == card
    assert _files(out) == before
    with pytest.raises(InputError, match="'scenes' made with other options: train 2 there, 3 here; give another"):
        make_scenes(out, train=3, val=1)
    assert _files(out) == before


def test_foreign_folder_is_unchanged(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        make_scenes(tmp_path, train=2, val=1)
    with pytest.raises(InputError, match="is a file"):
        make_scenes(tmp_path / "notes.txt", train=2, val=1)
    assert _files(tmp_path) == {"notes.txt": b"mine"}


def test_interrupted_drawing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("c2d.data.scenes.make_scenes.make_card", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_scenes(tmp_path / "scenes", train=2, val=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bad", [{"train": 0}, {"val": -1}, {"size": 32}, {"seed": -1}])
def test_numbers_out_of_range(tmp_path: Path, bad: dict[str, int]) -> None:
    with pytest.raises(InputError, match="it has to be at least"):
        make_scenes(tmp_path / "scenes", **bad)
    assert list(tmp_path.iterdir()) == []
