"""Data cards: digest, paths, and every error of loading one."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2d.api.train_run import _root_of
from c2d.core.errors import InputError
from c2d.core.run_folder import atomic_write_json
from c2d.data.card import Card, Split, annotation_digest
from c2d.data.card_lookup import data_reference, find_card, load_card, verify_card
from c2d.data.make_card import make_card
from c2d.data.public import PublicCard, public_cards, public_digest


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
    verify_card(loaded)


def test_files_outside_the_folder_of_the_card_are_absolute(tmp_path: Path, write: Any, coco: dict[str, Any]) -> None:
    card = _card(tmp_path / "elsewhere", write, coco)
    assert card.splits["train"].annotations == str((tmp_path / "instances_train.json").resolve())
    verify_card(load_card(str(tmp_path / "elsewhere")))


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


def test_verify_reports_a_changed_annotation_file(tmp_path: Path, write: Any, coco: dict[str, Any]) -> None:
    _card(tmp_path, write, coco)
    coco["annotations"][0]["bbox"] = [0, 0, 4, 6]
    (tmp_path / "instances_train.json").write_text(json.dumps(coco))
    with pytest.raises(InputError, match="has changed since its card was made"):
        verify_card(load_card(str(tmp_path)))
    coco["categories"][0]["name"] = "wasp"
    (tmp_path / "instances_train.json").write_text(json.dumps(coco))
    with pytest.raises(InputError, match=r"has classes \['wasp', 'bee'\], its card \['ant', 'bee'\]"):
        verify_card(load_card(str(tmp_path)))


def test_class_list_must_equal_that_of_the_file(tmp_path: Path, write: Any, coco: dict[str, Any]) -> None:
    path, folder = write(coco)
    with pytest.raises(InputError, match=r"class list and .* differ"):
        make_card(tmp_path, "insects", ["bee", "ant"], {"train": (path, folder)})
    other = copy.deepcopy(coco)
    other["categories"][0]["id"] = 4
    val, val_folder = write(other, "val")
    with pytest.raises(InputError, match="number the same classes differently"):
        make_card(tmp_path, "insects", ["ant", "bee"], {"train": (path, folder), "val": (val, val_folder)})
    assert not (tmp_path / "card.json").exists()


def test_unknown_name_gets_a_suggestion(
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


# ---------------------------------------------------------------------------------------------------------------------
# public data sets


def test_shipped_cards_have_their_digest() -> None:
    assert set(public_cards()) == {"coco2017", "imagenet", "voc0712"}
    for name, card in public_cards().items():
        assert (card.name, card.digest) == (name, public_digest(card))
        assert len(set(card.classes)) == len(card.classes)


def test_coco_is_the_published_one() -> None:
    coco = public_cards()["coco2017"]
    counts = {name: (split.n_images, split.n_boxes) for name, split in coco.splits.items()}
    assert counts == {"train": (118_287, 860_001), "val": (5_000, 36_781)}
    assert (len(coco.classes), coco.classes[0], coco.classes[11], coco.classes[79]) == (
        80, "person", "stop sign", "toothbrush",
    )  # fmt: skip


def test_voc_is_the_published_one_with_difficult_objects_as_crowd_regions() -> None:
    voc = public_cards()["voc0712"]
    counts = {name: (split.n_images, split.n_objects) for name, split in voc.splits.items()}
    assert counts == {"train": (5_011 + 11_540, 12_608 + 27_450), "val": (4_952, 24_640 - 12_608)}
    assert (len(voc.classes), voc.classes, voc.protocol) == (20, sorted(voc.classes), "voc")
    splits = {
        name: Split(annotations="a", images="b", digest="", n_images=split.n_images, n_boxes=1)
        for name, split in voc.splits.items()
    }
    source: dict[str, Any] = {"difficult": "crowd", "objects": {"train": 40_058, "val": 12_032}}
    card = Card(name="voc0712", classes=voc.classes, digest="", splits=splits, source=source, protocol="voc")
    assert voc.differences(card) == []
    assert voc.differences(card.model_copy(update={"protocol": None, "source": ""})) == [
        "train has 0 objects instead of 40,058",
        "val has 0 objects instead of 12,032",
        "the protocol is None instead of voc",
        "made with difficult None instead of crowd",
    ]
    kept = card.model_copy(update={"source": source | {"difficult": "keep"}})
    assert voc.differences(kept) == ["made with difficult keep instead of crowd"]
    assert (
        "`c2d data voc VOCdevkit --train 2007/trainval+2012/trainval --val 2007/test /x --name voc0712` makes its"
        in (voc.files_text("/x"))
    )


def test_coco_has_the_classes_of_cocos_own_file(shared_data: Path) -> None:
    files = list((shared_data / "coco_mini" / "annotations").glob("instances_*.json"))
    assert files
    for path in files:
        names = [category["name"] for category in json.loads(path.read_text())["categories"]]
        assert names == public_cards()["coco2017"].classes


def test_every_part_of_a_public_card_changes_its_digest() -> None:
    value = public_cards()["coco2017"].model_dump()
    digests = {public_digest(PublicCard(**value))}
    for change in (
        {"name": "coco2018"},
        {"classes": list(reversed(value["classes"]))},
        {"splits": {**value["splits"], "val": {**value["splits"]["val"], "n_boxes": 36_780}}},
        {"splits": {"train": value["splits"]["train"]}},
    ):
        digests.add(public_digest(PublicCard(**{**value, **change})))
    assert len(digests) == 5
    assert public_digest(PublicCard(**{**value, "source": "elsewhere"})) in digests  # where it lies is no question


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch) -> PublicCard:
    """A public data set as small as the one of these tests: one split with 2 images and 3 boxes."""
    split = {"annotations": "ann/train.json", "images": "images", "n_images": 2, "n_boxes": 3}
    draft = PublicCard(format=1, name="insects", classes=["ant", "bee"], digest="", splits={"train": split}, source="")  # type: ignore[dict-item]
    card = draft.model_copy(update={"digest": public_digest(draft)})
    for module in ("card_lookup", "public"):
        monkeypatch.setattr(f"c2d.data.{module}.public_cards", lambda: {"insects": card})
    return card


def test_the_card_of_a_public_set_needs_no_files(public: PublicCard, tmp_path: Path) -> None:
    assert data_reference("insects", tmp_path) == ("insects", public.digest)
    with pytest.raises(InputError, match="unknown data set 'insect'; did you mean 'insects'"):
        data_reference("insect", tmp_path)
    with pytest.raises(
        InputError, match="the files of data set insects are not here: no card of that name in"
    ) as caught:
        find_card("insects", public.digest, tmp_path)
    messages = str(caught.value)
    assert f"in {tmp_path} (set C2D_DATA or give --data)" in messages
    assert "ann/train.json with 2 images and 3 boxes, 2 image files in images/" in messages
    assert f"`c2d data check ann/train.json --images images --card {tmp_path}/insects --name insects` makes" in messages


def test_beside_its_files_it_has_the_same_digest(
    public: PublicCard, tmp_path: Path, write: Any, coco: dict[str, Any]
) -> None:
    card = _card(tmp_path / "data" / "insects", write, coco)
    assert card.digest != public.digest
    for name in ("insects", str(tmp_path / "data" / "insects")):
        assert data_reference(name, tmp_path / "data") == ("insects", public.digest)
    loaded = find_card("insects", public.digest, tmp_path / "data")
    assert loaded.card == card
    verify_card(loaded)
    assert find_card("insects", card.digest, tmp_path / "data") == loaded  # a run from before the card was shipped
    with pytest.raises(InputError, match="the run names aaaaaaaaaaaa"):
        find_card("insects", "a" * 64, tmp_path / "data")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ["ant", "wasp"]}, "class 1 is 'wasp' instead of 'bee'"),
        ({"classes": ["ant"]}, "1 classes instead of 2"),
        ({"n_boxes": 2}, "train has 2 boxes instead of 3"),
        ({"n_images": 1200}, "train has 1,200 images instead of 2"),
        ({"split": "val"}, "splits val instead of train"),
    ],
)
def test_another_data_set_under_its_name_is_refused(
    public: PublicCard, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    split = {"annotations": "a", "images": "i", "digest": "", "n_images": 2, "n_boxes": 3} | {
        key: value for key, value in change.items() if key.startswith("n_")
    }
    classes = change.get("classes", public.classes)
    card = {"name": "insects", "classes": classes, "digest": "d", "splits": {change.get("split", "train"): split}}
    atomic_write_json(tmp_path / "insects" / "card.json", card)
    wanted = f"data set insects in .* is not the public one of that name: {message}; give it another name"
    for call in (lambda: data_reference("insects", tmp_path), lambda: find_card("insects", public.digest, tmp_path)):
        with pytest.raises(InputError, match=wanted):
            call()


def test_no_card_is_written_under_a_wrong_name(
    public: PublicCard, tmp_path: Path, write: Any, coco: dict[str, Any]
) -> None:
    del coco["annotations"][0]
    with pytest.raises(InputError, match="train has 2 boxes instead of 3; give it another name"):
        _card(tmp_path / "data" / "insects", write, coco)
    assert not (tmp_path / "data" / "insects" / "card.json").exists()


def test_a_folder_without_a_card_does_not_hide_a_data_set_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`c2d data kitti kitti data/kitti`: `dataset: kitti` is the card in ./data, not the files it was made from."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kitti").mkdir()
    assert _root_of("kitti") is None
    (tmp_path / "kitti/card.json").write_text("{}")
    assert _root_of("kitti") == _root_of("kitti/card.json") == tmp_path
