"""The boxes that filters drop, counted as mmdet's own reader drops them; what a run needs of its data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from c2d.cli.data_commands import app
from c2d.core.errors import InputError
from c2d.data.card_lookup import check_dataset, load_card, splits_of_run, verify_card
from c2d.data.coco.register_card import split_names
from c2d.data.coco_file import read_coco
from c2d.data.make_card import make_card
from c2d.data.usable_boxes import count_usable, training_min_size

Coco = dict[str, Any]


def test_counts_equal_those_of_mmdets_reader(tmp_path: Path) -> None:
    from c2d.detectors import compat
    from c2d.detectors.mmdet_scope import mmdet_scope

    compat.prepare()
    from mmdet.datasets import CocoDataset

    rng = np.random.default_rng(0)
    sizes = {1: (60, 40), 2: (31, 64), 3: (64, 64)}
    rows = [
        {
            "id": number,
            "image_id": int(rng.integers(1, 4)),
            "category_id": 1,
            "bbox": [
                *rng.choice([-40, -5, 0, 10, 39.5, 60], 2).tolist(),
                *rng.choice([0, 0.999, 1, 5, 30], 2).tolist(),
            ],
            "area": int(rng.choice([0, 9, 9, 9])),
            "iscrowd": int(rng.choice([0, 0, 0, 1])),
        }
        for number in range(1, 400)
    ]
    images = [{"id": i, "file_name": f"{i}.png", "width": w, "height": h} for i, (w, h) in sizes.items()]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"images": images, "annotations": rows, "categories": [{"id": 1, "name": "ant"}]}))
    for min_size, most in ((0, 399), (32, 300), (64, 200)):
        counted = count_usable(read_coco(path), min_size)
        with mmdet_scope():
            dataset = CocoDataset(
                ann_file=str(path),
                data_prefix={"img": ""},
                metainfo={"classes": ("ant",)},
                pipeline=[],
                filter_cfg={"filter_empty_gt": True, "min_size": min_size},
            )
        found = [instance for k in range(len(dataset)) for instance in dataset.get_data_info(k)["instances"]]
        assert counted.usable == sum(not instance["ignore_flag"] for instance in found)
        assert 0 < counted.usable < most
        assert counted.usable + sum(counted.dropped.values()) == counted.total == 399


def test_min_size_of_a_run() -> None:
    key = "train_dataloader.dataset.filter_cfg"
    assert training_min_size({}) == 32
    assert training_min_size({f"{key}.min_size": 8}) == 8
    assert training_min_size({key: {"filter_empty_gt": False}}) == 0
    assert training_min_size({key: None}) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"iscrowd": 1}, r"train.json has no box to train on: of 3 boxes 3 crowd regions \(iscrowd 1\)"),
        ({"iscrowd": "no"}, r'annotation 1 \(image 1\): iscrowd is "no"; write 0'),
        ({"bbox": [0.1, 0.1, 0.2, 0.5]}, "of 3 boxes 2 with a side below 1 px, 1 crowd regions"),
        ({"bbox": [90, 90, 5, 5]}, "of 3 boxes 2 outside their image"),
        ({"area": 0}, "of 3 boxes 2 without area"),
        ({"bbox": None}, "of 3 boxes 3 malformed"),
        (
            {"area": float("nan")},
            r"annotation 1 \(image 1\): area is nan \(and 2 more numbers like it\); wanted finite",
        ),
    ],
)
def test_a_card_made_elsewhere_with_nothing_to_learn_is_refused(
    tmp_path: Path, write: Any, coco: Coco, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str
) -> None:
    files = {"val": write(coco, "val")}
    for row in coco["annotations"]:
        row |= change
    files["train"] = write(coco, "train")
    with monkeypatch.context() as patch:  # the card is of a program that writes NaN
        patch.setattr("c2d.data.make_card.read_coco", lambda path: json.loads(path.read_text()))
        card = make_card(tmp_path / "insects", "insects", ["ant", "bee"], files)
    with pytest.raises(InputError, match=message):
        check_dataset("insects", card.digest, tmp_path, min_size=0)


def test_small_images_are_dropped_from_training_alone(tmp_path: Path, write: Any, coco: Coco) -> None:
    files = {name: write(coco, name, seed) for seed, name in enumerate(("train", "val"))}
    card = make_card(tmp_path / "insects", "insects", ["ant", "bee"], files)
    message = r"train.json has no box to train on: of 3 boxes 2 in images with a side below 32 px \(min_size\), 1 crowd"
    with pytest.raises(InputError, match=message):
        check_dataset("insects", card.digest, tmp_path, min_size=32)
    assert check_dataset("insects", card.digest, tmp_path, min_size=0) is not None
    arguments = [str(tmp_path / f"instances_{s}.json") for s in ("train", "val")]
    folders = [part for s in ("train", "val") for part in ("--images", str(tmp_path / s))]
    result = CliRunner().invoke(app, ["check", *arguments, *folders])
    assert result.exit_code == 2
    assert [line for line in result.output.splitlines() if line.startswith("error")] == [
        f"error: {arguments[0]}: has no box to train on: of 3 boxes 2 in images with a side below 32 px (min_size), "
        "1 crowd regions (iscrowd 1), the first annotation 1 (image 1); enlarge the images, or set the override "
        "train_dataloader.dataset.filter_cfg.min_size: 0 (for `c2d data check` --min-size 0)"
    ]


# ---------------------------------------------------------------------------------------------------------------------
# the evaluation split


def _invoke(tmp_path: Path, write: Any, coco: Coco, names: tuple[str, ...], *extra: str) -> Any:
    pairs = [write(coco, name, seed) for seed, name in enumerate(names)]
    arguments = [str(path) for path, _ in pairs] + [part for _, folder in pairs for part in ("--images", str(folder))]
    card = ["--card", str(tmp_path / "insects"), "--name", "insects", "--min-size", "0"]
    return CliRunner().invoke(app, ["check", *arguments, *card, *extra])


def test_an_evaluation_split_is_chosen_and_recorded(tmp_path: Path, write: Any, coco: Coco) -> None:
    refused = _invoke(tmp_path, write, coco, ("train", "test"))
    assert getattr(refused.exception, "exit_code", None) == 2
    assert "the splits are train, test, and runs evaluate on 'val'; add its file, or choose a split with" in str(
        refused.exception
    )
    assert not (tmp_path / "insects").exists()
    arguments = [str(tmp_path / f"instances_{s}.json") for s in ("train", "test")]
    folders = [part for s in ("train", "test") for part in ("--images", str(tmp_path / s))]
    common = [
        "check",
        *arguments,
        *folders,
        "--min-size",
        "0",
        "--card",
        str(tmp_path / "insects"),
        "--name",
        "insects",
    ]
    wrong = CliRunner().invoke(app, [*common, "--evaluate-on", "tets"])
    assert "did you mean 'test'" in str(wrong.exception)
    done = CliRunner().invoke(app, [*common, "--evaluate-on", "test"])
    assert done.exit_code == 0, done.output
    assert "runs train on 'train'; results are measured on 'test'" in done.output
    loaded = load_card(str(tmp_path / "insects"))
    assert loaded.evaluation_split == "test"
    verify_card(loaded, splits_of_run(loaded, 0))
    plain = {s: (tmp_path / f"instances_{s}.json", tmp_path / s) for s in ("train", "test")}
    other = make_card(tmp_path / "other", "insects", ["ant", "bee"], plain)
    assert other.digest != loaded.card.digest  # numbers of two evaluation splits are those of two data sets


def test_the_default_split_leaves_card_and_digest_as_they_were(tmp_path: Path, write: Any, coco: Coco) -> None:
    files = {name: write(coco, name, seed) for seed, name in enumerate(("train", "val"))}
    plain = make_card(tmp_path / "a", "insects", ["ant", "bee"], files)
    named = make_card(tmp_path / "b", "insects", ["ant", "bee"], files, evaluation_split="val")
    assert plain.digest == named.digest
    assert "evaluation_split" not in json.loads((tmp_path / "a" / "card.json").read_text())


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (("train", "test"), "has no split 'val' to evaluate on; its splits: train, test; fix: .*--evaluate-on SPLIT"),
        (("val",), "has no split 'train', so it is for evaluation alone; its splits: val"),
    ],
)
def test_a_card_without_a_split_that_a_run_needs_is_refused(
    tmp_path: Path, write: Any, coco: Coco, splits: tuple[str, ...], message: str
) -> None:
    files = {name: write(coco, name, seed) for seed, name in enumerate(splits)}
    card = make_card(tmp_path / "insects", "insects", ["ant", "bee"], files)
    with pytest.raises(InputError, match=message):
        check_dataset("insects", card.digest, tmp_path)


def test_a_card_for_evaluation_alone_can_be_made(tmp_path: Path, write: Any, coco: Coco) -> None:
    done = _invoke(tmp_path, write, coco, ("val",))
    assert done.exit_code == 0, done.output
    assert "no split 'train', so for evaluation alone; results are measured on 'val'" in done.output
    loaded = load_card(str(tmp_path / "insects"))
    verify_card(loaded, {loaded.evaluation_split: 0})


def test_a_card_without_evaluation_split_may_get_one_later(tmp_path: Path, write: Any, coco: Coco) -> None:
    files = {name: write(coco, name, seed) for seed, name in enumerate(("train", "test"))}
    make_card(tmp_path / "insects", "insects", ["ant", "bee"], files)
    arguments = [str(path) for path, _ in files.values()]
    folders = [part for _, folder in files.values() for part in ("--images", str(folder))]
    card = ["--card", str(tmp_path / "insects"), "--name", "insects", "--min-size", "0"]
    done = CliRunner().invoke(app, ["check", *arguments, *folders, *card, "--evaluate-on", "test"])
    assert done.exit_code == 0, done.exception
    assert load_card(str(tmp_path / "insects")).evaluation_split == "test"


def test_split_names_follow_file_and_folder() -> None:
    files = [Path(f"/d/{name}/_annotations.coco.json") for name in ("train", "valid", "test")]
    assert split_names(files, []) == ["train", "val", "test"]
    assert split_names(files, [], "valid") == ["train", "valid", "test"]
    assert split_names([Path("/d/instances_val2017.json"), Path("/d/x.json")], []) == ["val", ""]
    with pytest.raises(InputError, match="for 1 files; name each once"):
        split_names([Path("/d/a.json")], ["train", "val"])
