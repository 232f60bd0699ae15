"""Soft labels of annotations: values, the digest, the check, and cards of synthesised images."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from c2d.cli.main import app
from c2d.core.errors import InputError
from c2d.data.card import Synthesis, annotation_digest, card_digest
from c2d.data.card_lookup import load_card, verify_card
from c2d.data.coco.register_card import register_card
from c2d.data.make_card import make_card
from c2d.data.soft_label_checks import SUM_TOLERANCE, check_soft_labels, have_soft_labels, soft_label_errors

Coco = dict[str, Any]
MOI = Synthesis(
    images_from="optimised", run="moi-impressions-0123456789ab-s0", schedule="moi",
    teacher="faster-rcnn-qr18-baseline-0123456789ab-s0", teacher_sha256="ab" * 32, soft_labels=True,
)  # fmt: skip


@pytest.fixture
def soft(coco: Coco) -> Coco:
    """The data set of `coco` with a soft label for each of its three annotations."""
    made = copy.deepcopy(coco)
    for row, label in zip(made["annotations"], ([1, 0], [0.25, 0.75], [0.5, 0.5]), strict=True):
        row["soft_label"] = label
    return made


@pytest.fixture
def folder(tmp_path: Path, write: Any, soft: Coco, coco: Coco) -> Path:
    """A data card of synthesised images: `train` has soft labels, `val` has none."""
    val = copy.deepcopy(coco)
    files = {"train": write(soft), "val": write(val, "val", seed=1)}
    make_card(tmp_path, "impressions", ["ant", "bee"], files, "by hand", synthesis=MOI)
    return tmp_path


def test_a_digest_of_before_is_what_it_was(coco: Coco, soft: Coco) -> None:
    known = "399a3ad0de032d87f4a2cb0de394c40a6e5912f901526dd2dc1f0b124af771ef"
    assert annotation_digest(coco) == known
    assert (
        card_digest(["ant", "bee"], {"train": known})
        == "63e14ad5f0774d58c279b1e187900de43698ae985075afb09201609fd91c0f9c"
    )
    assert annotation_digest(soft) != known
    other = copy.deepcopy(soft)
    other["annotations"][1]["soft_label"] = [0.5, 0.5]
    assert annotation_digest(other) not in (known, annotation_digest(soft))
    whole = copy.deepcopy(soft)
    whole["annotations"][0]["soft_label"] = [1.0, 0.0]
    assert annotation_digest(whole) == annotation_digest(soft)


def test_the_same_targets_with_other_images_are_another_data_set() -> None:
    splits = {"train": "a" * 64}
    digests = {
        card_digest(["ant"], splits, None, made)
        for made in (
            None,
            MOI,
            MOI.model_copy(update={"images_from": "noise"}),
            MOI.model_copy(update={"run": "moi-impressions-0123456789ab-s1"}),
            MOI.model_copy(update={"teacher_sha256": "cd" * 32}),
        )
    }
    assert len(digests) == 5
    renamed = MOI.model_copy(update={"schedule": "another name"})
    assert card_digest(["ant"], splits, None, renamed) == card_digest(["ant"], splits, None, MOI)


def test_sound_soft_labels(coco: Coco, soft: Coco) -> None:
    assert list(soft_label_errors(soft)) == []
    assert check_soft_labels(soft, "a.json")
    assert not check_soft_labels(coco, "a.json")
    soft["annotations"][1]["soft_label"] = [0.25, 0.75 + SUM_TOLERANCE / 2]
    assert check_soft_labels(soft, "a.json")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1.0], "has 1 numbers; wanted 2, one for each class"),
        ([0.2, 0.3, 0.5], "has 3 numbers; wanted 2"),
        (0.5, "is 0.5; wanted 2"),
        (None, "is null; wanted 2"),
        ([1.25, -0.25], r"is \[1.25, -0.25\]; wanted numbers from 0 to 1"),
        ([True, 0], "wanted numbers from 0 to 1"),
        (["1", 0], "wanted numbers from 0 to 1"),
        ([float("nan"), 1], "wanted numbers from 0 to 1"),
        ([10**400, 0], "wanted numbers from 0 to 1"),
        ([0.25, 0.5], "which has the sum 0.75; wanted the sum 1"),
        ([0.5, 0.5002], "which has the sum 1.0002; wanted the sum 1"),
    ],
)
def test_a_wrong_soft_label_is_one_line(soft: Coco, value: Any, message: str) -> None:
    soft["annotations"][1]["soft_label"] = value
    with pytest.raises(InputError, match=rf"annotation file a.json: annotation 2 \(image 1\): soft_label .*{message}"):
        check_soft_labels(soft, "a.json")
    assert len(list(soft_label_errors(soft))) == 1


def test_all_annotations_have_one_or_none(soft: Coco) -> None:
    del soft["annotations"][2]["soft_label"]
    with pytest.raises(InputError, match=r"annotation 3 \(image 2\): soft_label is missing, and other annotations"):
        check_soft_labels(soft, "a.json")
    assert have_soft_labels(soft)


numbers = st.one_of(st.floats(), st.integers(), st.none(), st.booleans(), st.text(max_size=2))


@given(st.lists(st.one_of(numbers, st.lists(numbers, max_size=3)), min_size=1, max_size=3))
def test_any_value_is_reported_or_is_a_distribution(labels: list[Any]) -> None:
    rows = [{"id": i, "soft_label": label} for i, label in enumerate(labels)]
    found = list(soft_label_errors({"annotations": rows, "categories": [{}, {}]}))
    if not found:
        assert all(abs(sum(label) - 1) < 2 * SUM_TOLERANCE and min(label) >= 0 for label in labels)


def test_a_card_of_synthesised_images_is_verified(folder: Path) -> None:
    loaded = load_card(str(folder))
    assert loaded.card.synthesis == MOI
    assert loaded.card.synthesis.is_data_free
    verify_card(loaded)
    card = json.loads((folder / "card.json").read_text())
    card["synthesis"]["images_from"] = "real"
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(InputError, match="its digest does not belong to its splits"):
        verify_card(load_card(str(folder)))


@pytest.mark.parametrize("declared", [True, False])
def test_a_card_says_whether_there_are_soft_labels(
    tmp_path: Path, write: Any, coco: Coco, soft: Coco, declared: bool
) -> None:
    made = MOI.model_copy(update={"soft_labels": declared})
    make_card(tmp_path, "x", ["ant", "bee"], {"train": write(coco if declared else soft)}, synthesis=made)
    with pytest.raises(InputError, match=r"by its card soft_labels is (true|false), and .* have (none|some)"):
        verify_card(load_card(str(tmp_path)))


def test_a_card_written_again_keeps_its_synthesis(folder: Path) -> None:
    before = load_card(str(folder)).card
    pairs = [(folder / f"instances_{split}.json", folder / split) for split in ("train", "val")]
    assert register_card(folder, "impressions", pairs, [], ["ant", "bee"]).digest == before.digest
    assert load_card(str(folder)).card.synthesis == MOI


def test_check_takes_a_card_and_says_where_its_images_come_from(folder: Path) -> None:
    for given_path in (folder, folder / "card.json"):
        result = CliRunner().invoke(app, ["data", "check", str(given_path), "--min-size", "0"])
        assert result.exit_code == 0, result.output
        assert f"{folder / 'instances_train.json'}: the annotations have soft labels" in result.output
        assert f"{folder / 'instances_val.json'}: the annotations have soft" not in result.output
        assert f"optimised until the detector {MOI.teacher} sees the targets; data-free: no real image" in result.output
        assert f"made by run {MOI.run}, schedule moi" in result.output
        assert f"of the detector {MOI.teacher} (weights abababababab), with a soft label each" in result.output
        assert "runs train on 'train'; results are measured on 'val'" in result.output
    result = CliRunner().invoke(app, ["data", "check", str(folder), "--json"])
    assert json.loads(result.output)["synthesis"] == MOI.model_dump() | {"data_free": True}


def test_check_of_a_card_finds_what_changed(folder: Path, soft: Coco) -> None:
    soft["annotations"][1]["soft_label"] = [0.5, 0.25]
    (folder / "instances_train.json").write_text(json.dumps(soft))
    result = CliRunner().invoke(app, ["data", "check", str(folder), "--min-size", "0"])
    assert result.exit_code == 2
    assert "annotation 2 (image 1): soft_label is [0.5, 0.25], which has the sum 0.75" in result.output
    soft["annotations"][1]["soft_label"] = [0.5, 0.5]
    (folder / "instances_train.json").write_text(json.dumps(soft))
    result = CliRunner().invoke(app, ["data", "check", str(folder), "--min-size", "0"])
    assert isinstance(result.exception, InputError)
    assert "has changed since its card was made" in str(result.exception)
    result = CliRunner().invoke(app, ["data", "check", str(folder), "--images", str(folder)])
    assert isinstance(result.exception, InputError)
    assert "is a data card, which has the images" in str(result.exception)
