"""Data cards: digest, paths, and every way in which loading one goes wrong."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2d.data.card import annotation_digest, load_card, make_card, verify
from c2d.errors import InputError


def _card(root: Path, write: Any, coco: dict[str, Any]) -> Any:
    path, folder = write(coco)
    return make_card(root, "insects", ["ant", "bee"], {"train": (path, folder)}, "by hand")


def test_card_round_trip(tmp_path: Path, write: Any, coco: dict[str, Any]) -> None:
    card = _card(tmp_path, write, coco)
    loaded = load_card(str(tmp_path))
    assert loaded.card == card == load_card(str(tmp_path / "card.json")).card
    assert card.splits["train"].annotations == "instances_train.json"
    assert card.splits["train"].images == "train"
    assert loaded.annotations("train") == tmp_path / "instances_train.json"
    assert loaded.images("train") == tmp_path / "train"
    assert (card.splits["train"].n_images, card.splits["train"].n_boxes) == (2, 3)
    verify(loaded)


def test_files_outside_the_folder_of_the_card_are_absolute(tmp_path: Path, write: Any, coco: dict[str, Any]) -> None:
    card = _card(tmp_path / "elsewhere", write, coco)
    assert card.splits["train"].annotations == str((tmp_path / "instances_train.json").resolve())
    verify(load_card(str(tmp_path / "elsewhere")))


def test_digest_ignores_paths_key_order_and_what_no_detector_reads(coco: dict[str, Any]) -> None:
    other = copy.deepcopy(coco)
    other["info"] = {"date": "today"}
    other["annotations"] = [
        dict(reversed(row.items())) | {"segmentation": [[1, 2, 3, 4]]} for row in other["annotations"]
    ]
    other["annotations"][0]["bbox"] = [0.0, 0.0, 4.0, 5.0]
    assert annotation_digest(other) == annotation_digest(coco)


@pytest.mark.parametrize(
    ("block", "key", "value"),
    [
        ("annotations", "bbox", [0, 0, 4, 6]),
        ("annotations", "iscrowd", 1),
        ("images", "width", 21),
        ("categories", "name", "wasp"),
    ],
)
def test_digest_sees_what_a_detector_learns_from(coco: dict[str, Any], block: str, key: str, value: Any) -> None:
    other = copy.deepcopy(coco)
    other[block][0][key] = value
    assert annotation_digest(other) != annotation_digest(coco)


@given(st.lists(st.tuples(*[st.floats(0, 100, allow_nan=False)] * 4), max_size=5), st.randoms())
def test_digest_of_any_boxes_is_independent_of_key_order(boxes: list[tuple[float, ...]], random: Any) -> None:
    rows = [{"id": i, "image_id": 1, "category_id": 1, "bbox": list(box)} for i, box in enumerate(boxes)]
    mixed = []
    for row in rows:
        keys = list(row)
        random.shuffle(keys)
        mixed.append({key: row[key] for key in keys})
    blocks: dict[str, Any] = {"images": [], "categories": []}
    assert annotation_digest({**blocks, "annotations": rows}) == annotation_digest({"annotations": mixed, **blocks})


def test_moved_data_keep_their_digest(tmp_path: Path, write: Any, coco: dict[str, Any]) -> None:
    path, folder = write(coco)
    digests = set()
    for name in ("one", "two"):
        root = tmp_path / name
        root.mkdir()
        shutil.copy(path, root / path.name)
        digests.add(make_card(root, name, ["ant", "bee"], {"train": (root / path.name, folder)}).digest)
    assert len(digests) == 1


def test_verify_tells_a_changed_annotation_file(tmp_path: Path, write: Any, coco: dict[str, Any]) -> None:
    _card(tmp_path, write, coco)
    coco["annotations"][0]["bbox"] = [0, 0, 4, 6]
    (tmp_path / "instances_train.json").write_text(json.dumps(coco))
    with pytest.raises(InputError, match="has changed since its card was made"):
        verify(load_card(str(tmp_path)))
    coco["categories"][0]["name"] = "wasp"
    (tmp_path / "instances_train.json").write_text(json.dumps(coco))
    with pytest.raises(InputError, match=r"has classes \['wasp', 'bee'\], its card \['ant', 'bee'\]"):
        verify(load_card(str(tmp_path)))


def test_class_list_has_to_be_the_files(tmp_path: Path, write: Any, coco: dict[str, Any]) -> None:
    path, folder = write(coco)
    with pytest.raises(InputError, match=r"class list and .* differ"):
        make_card(tmp_path, "insects", ["bee", "ant"], {"train": (path, folder)})
    other = copy.deepcopy(coco)
    other["categories"][0]["id"] = 4
    val, val_folder = write(other, "val")
    with pytest.raises(InputError, match="number the same classes differently"):
        make_card(tmp_path, "insects", ["ant", "bee"], {"train": (path, folder), "val": (val, val_folder)})
    assert not (tmp_path / "card.json").exists()


def test_unknown_name_gets_a_guess(
    tmp_path: Path, write: Any, coco: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    _card(tmp_path / "data" / "insects", write, coco)
    with pytest.raises(InputError, match="did you mean 'insects'"):
        load_card("insect", tmp_path / "data")
    monkeypatch.setenv("C2D_DATA", str(tmp_path / "data"))
    assert load_card("insects").card.name == "insects"
    with pytest.raises(InputError, match="unknown split of data set 'insects' 'vall'"):
        load_card("insects").annotations("vall")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"name": 3}', '{"name": "x", "classes": [], "digest": "", "splits": {}, "extra": 1}']
)
def test_broken_card_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "card.json").write_text(text)
    with pytest.raises(InputError) as caught:
        load_card(str(tmp_path))
    assert "is not a data card" in str(caught.value)
    assert "\n" not in str(caught.value)
