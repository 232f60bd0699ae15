"""`c2d compare`: two checkpoints on the same images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.comparison.compare import compare, compare_pair
from analysis.comparison.comparison import Change, Comparison
from analysis.comparison.sides import Pair
from benchmarks.suite.synthetic_dataset import synthetic_coco
from c2d.cli.main import main
from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, atomic_write_json, atomic_write_json_gz
from c2d.core.store_folder import RunStore
from c2d.metrics import coco, tide
from c2d.metrics.coco_data import CocoData, prepare
from c2d.metrics.operating_points import working_point
from tests.analysis.toy_detectors import two_detectors
from tests.analysis.toy_scenes import coco_results, small_sets, truth

DIGEST = "0123456789abcdef"


def pair(a: CocoData, b: CocoData) -> Pair:
    return Pair(("a", "b"), (a, b), "toy", {})


def compared(a: CocoData, b: CocoData, **options: Any) -> Comparison:
    return compare_pair(pair(a, b), **{"iou": 0.5, "score": None, "samples": 100, "seed": 0, **options})


def tables(found: Comparison) -> list[Change]:
    return [*found.overall, *found.per_class, *found.per_size, *found.tide]


def test_both_sides_have_the_numbers_of_the_engines():
    a, b = two_detectors(np.random.default_rng(4), 60, jitter=(0.06, 0.12))
    found = compared(a, b)
    for side, data in (("a", a), ("b", b)):
        expected, errors = coco.evaluate(data), tide.evaluate(data)
        given = {one.name: getattr(one, side) for one in tables(found)}
        for name in ("AP", "AP50", "AP75"):
            assert given[name] == pytest.approx(expected[name], abs=1e-12)
        for name, key in (("small", "APs"), ("medium", "APm"), ("large", "APl")):
            assert given[name] == pytest.approx(expected[key], abs=1e-12)
        for name, one in expected["per_class"].items():
            assert given[name] == pytest.approx(one["AP"], abs=1e-12)
        for name, value in errors["dAP"].items():
            assert given[name] == pytest.approx(value, abs=1e-12)
    ap = found.overall[0]
    assert None not in (ap.low, ap.difference, ap.high)
    assert ap.low < ap.difference < ap.high < 0  # type: ignore[operator]
    assert ap.p == pytest.approx(2 / 101)
    assert found.verdict.startswith("A has the higher AP: AP −")
    assert "60 images are few" in found.notes[0]


@given(st.integers(0, 10**6), st.integers(8, 30), st.integers(1, 4))
@settings(max_examples=6, deadline=None)
def test_the_other_way_round_is_the_negative_and_itself_is_nothing(seed, images, classes):
    a, b = two_detectors(np.random.default_rng(seed), images, classes=classes)
    if not len(a.gt_image):
        return
    there, back = compared(a, b), compared(b, a)
    for one, other in zip(tables(there), tables(back), strict=True):
        if one.difference is None:
            assert other == one
            continue
        assert other.difference == -one.difference
        assert (other.a, other.b, other.p) == (one.b, one.a, one.p)
        assert one.low is None or (other.low, other.high) == (-one.high, -one.low)  # type: ignore[operator]
    assert (there.both, there.neither) == (back.both, back.neither)
    swapped = [replace(one, found_by="ab"[one.found_by == "a"]) for one in back.flipped]
    assert list(there.flipped) == swapped
    assert [(one.image_id, -one.change) for one in there.changed] == [
        (one.image_id, one.change) for one in back.changed
    ]

    same = compared(a, a)
    assert all(one.difference in (0, None) and one.p in (1, None) for one in tables(same))
    assert (same.flipped, same.changed) == ((), ())
    assert same.both + same.neither == same.objects


@given(small_sets(), st.randoms())
@settings(max_examples=8, deadline=None)
def test_the_order_of_images_in_the_file_changes_nothing(case, random):
    targets, detections = case
    images = [*targets["images"], *({"id": 10_000 + i} for i in range(8))]
    shuffled = list(images)
    random.shuffle(shuffled)
    results = []
    for order in (images, shuffled):
        data = prepare({**targets, "images": order}, detections)
        if not data.objects_per_class.any():
            return
        empty = replace(data, dt_image=data.dt_image[:0], dt_class=data.dt_class[:0], dt_box=data.dt_box[:0],
                        dt_score=data.dt_score[:0], cache={})  # fmt: skip
        results.append(compared(data, empty))
    assert results[0] == results[1]
    assert results[0].b.threshold is None
    assert all(one.found_by == "a" for one in results[0].flipped)


def test_flips_by_paper_and_pencil():
    # Image 1: A finds it, B has it in the wrong class. Image 2: B finds it, A a little beside it. Image 3: both.
    box, moved, free = (0, 0, 40, 40), (0, 30, 40, 40), (100, 100, 40, 40)
    targets = truth([(1, 1, box), (2, 1, box), (3, 1, box)], images=8)
    a = coco_results([(1, 1, box, 0.9), (2, 1, moved, 0.8), (3, 1, box, 0.7), (4, 1, free, 0.1)])
    b = coco_results([(1, 2, box, 0.9), (2, 1, box, 0.8), (3, 1, box, 0.7), (5, 1, free, 0.75)])
    found = compare_pair(
        Pair(("a", "b"), (prepare(targets, a), prepare(targets, b)), "toy", {1: "one.jpg"}),
        iou=0.5, score=None, samples=100, seed=0,
    )  # fmt: skip
    # A: F1 at 0.7 is 2*2/(3+3) = 2/3, at 0.9 2/(1+3), with the false positive of 0.1 4/7.
    assert (found.a.threshold, found.a.f1, found.a.false_positives) == (0.7, pytest.approx(2 / 3), 1)
    assert (found.b.threshold, found.b.f1, found.b.false_positives) == (0.7, pytest.approx(4 / 7), 2)
    assert (found.both, found.neither, found.objects) == (1, 0, 3)
    first, second = found.flipped
    assert (first.annotation, first.image_id, first.file_name, first.class_name) == (0, 1, "one.jpg", "a")
    assert (first.found_by, first.score, first.missed_as, first.box) == ("a", 0.9, "Cls", (0, 0, 40, 40))
    assert (second.found_by, second.score, second.missed_as) == ("b", 0.8, "Loc")
    rows = [(one.image_id, one.errors_a, one.errors_b, one.change, one.only_a, one.only_b) for one in found.changed]
    assert rows == [(1, 0, 2, 2, 1, 0), (2, 2, 0, -2, 0, 1), (5, 0, 1, 1, 0, 0)]
    assert found.per_class[1] == Change("b", None, None, None, None, None, None, 0, "no objects")
    assert found.per_class[0].reason == "in 3 images: too few"
    assert "Classes without an interval, because they are in too few images: 1 of 2." in found.notes
    assert found.verdict.endswith("without an interval: objects in 3 images: too few")
    text = found.text()
    assert "one.jpg" in text
    assert "in 3 images: too few" in text


def test_a_threshold_does_not_separate_equal_scores():
    box, free = (0, 0, 40, 40), (100, 100, 40, 40)
    data = prepare(truth([(1, 1, box)]), coco_results([(1, 1, box, 0.5), (1, 1, free, 0.5), (1, 2, free, 0.2)]))
    assert working_point(data, 0.5) == (0.5, pytest.approx(2 / 3))
    assert working_point(data, 0.5, 0.9) == (0.9, 0.0)
    assert working_point(data, 0.5, 0.0) == (0.0, pytest.approx(2 / 4))
    assert working_point(prepare(truth([(1, 1, box)]), []), 0.5) == (None, None)


def files(folder: Path, images: int = 12) -> tuple[Path, Path, Path]:
    """Ground truth and two files of detections; B has none on the second half of the images."""
    targets, detections = synthetic_coco(images, 3, 5, 12, seed=1)
    for image in targets["images"]:
        image["file_name"] = f"{image['id']}.jpg"
    half = {image["id"] for image in targets["images"][: images // 2]}
    paths = folder / "gt.json", folder / "a.json", folder / "b.json"
    contents = targets, detections, [one for one in detections if one["image_id"] in half]
    for path, value in zip(paths, contents, strict=True):
        path.write_text(json.dumps(value))
    return paths


def store(folder: Path, names: tuple[str, ...]) -> RunStore:
    """Finished runs with the detections of `files`, on one data set."""
    found, out = files(folder), RunStore(folder / "runs")
    targets = json.loads(found[0].read_text())
    atomic_write_json_gz(out.targets(DIGEST), targets)
    for name, path in zip(names, found[1:], strict=False):
        run, detections = RunFolder(out.path / name), json.loads(path.read_text())
        dataset = {"name": "toy", "digest": DIGEST}
        atomic_write_json(run.spec, {"format": 1, "kind": "detector", "dataset": dataset})
        atomic_write_json_gz(run.detections, detections)
        atomic_write_json(run.result, {"format": 1, "kind": "detector", **coco.evaluate(targets, detections)})
        run.write_status("done")
    return out


def test_files_and_runs_give_the_same_and_a_subset_of_images_is_noted(tmp_path):
    runs = store(tmp_path, ("one-s0", "two-s0"))
    targets, a, b = (tmp_path / name for name in ("gt.json", "a.json", "b.json"))
    of_files = compare(a, b, targets=targets, samples=100)
    of_runs = compare("one-s0", runs.path / "two-s0", runs=runs.path, samples=100)
    mixed = compare("one-s0", b, runs=runs.path, samples=100)
    assert (of_files.dataset, of_runs.dataset, of_runs.a.name) == ("gt.json", "toy", "one-s0")
    assert tables(of_files) == tables(of_runs) == tables(mixed)
    assert of_files.flipped == of_runs.flipped
    assert of_files.flipped[0].file_name.endswith(".jpg")
    assert any("B has no detection on 6 of the 12 images" in note for note in of_files.notes)
    again = compare(a, b, targets=targets, samples=100)
    assert again == of_files
    assert compare(a, b, targets=targets, samples=100, seed=1).overall != of_files.overall
    html = of_files._repr_html_()
    assert html.count("<table>") == html.count("</table>") >= 7


def test_what_cannot_be_compared_is_refused_with_the_reason(tmp_path):
    runs = store(tmp_path, ("one-s0", "two-s0"))
    targets, a, b = (tmp_path / name for name in ("gt.json", "a.json", "b.json"))
    moved = RunFolder(runs.path / "three-s0")
    spec = json.loads((runs.path / "one-s0" / "spec.json").read_text())
    atomic_write_json(moved.spec, {**spec, "dataset": {"name": "toy", "digest": "f" * 16}})
    atomic_write_json(moved.result, json.loads((runs.path / "one-s0" / "result.json").read_text()))
    moved.write_status("done")
    teacher = RunFolder(runs.path / "four-s0")
    atomic_write_json(teacher.spec, {**spec, "kind": "classifier"})
    waiting = RunFolder(runs.path / "five-s0")
    atomic_write_json(waiting.spec, spec)
    few = tmp_path / "few.json"
    few.write_text(json.dumps(truth([(1, 1, (0, 0, 9, 9))], images=7)))
    nothing = tmp_path / "nothing.json"
    nothing.write_text("[]")
    for arguments, options, message in (
        ((a, b), {}, "need their ground truth: --targets GT.json"),
        (("one-s0", "three-s0"), {}, "A was evaluated on toy, split val, digest 0123456789ab, B on .*not the same"),
        (("one-s0", "four-s0"), {}, "run four-s0 is a classifier"),
        (("one-s0", "five-s0"), {}, "run five-s0 is waiting and has no numbers yet"),
        (("one-s0", "six-s0"), {}, "unknown run in .*six-s0"),
        (("three-s0", "three-s0"), {}, "is missing, the ground truth of run three-s0"),
        (("one-s0", tmp_path / "none.json"), {}, "no file .*none.json"),
        ((nothing, nothing), {"targets": few}, "7 images are too few"),
        ((a, nothing), {"targets": few}, "a.json and few.json: detections name image_id"),
        ((a, b), {"targets": targets, "samples": 10}, "10 resamples; allowed are 100 to"),
        ((a, b), {"targets": targets, "iou": 0.05}, "IoU 0.05"),
        ((a, b), {"targets": targets, "score": float("nan")}, "score nan"),
        ((a, b), {"targets": targets, "seed": -1}, "seed -1"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            compare(*arguments, runs=runs.path, **options)
    result = json.loads((runs.path / "two-s0" / "result.json").read_text())
    atomic_write_json(runs.path / "two-s0" / "result.json", {**result, "AP": 0.9})
    with pytest.raises(InputError, match=r"gives AP 0.*result.json has 0.9000: not one evaluation"):
        compare("one-s0", "two-s0", runs=runs.path)


def test_the_command_prints_writes_and_refuses(tmp_path, capsys):
    targets, a, b = files(tmp_path)
    out = tmp_path / "out.json"
    common = ["compare", str(a), str(b), "--targets", str(targets), "--samples", "100"]
    with pytest.raises(SystemExit) as stop:
        main([*common, "--images", "2", "--out", str(out)])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(("A has the higher AP", "No difference in AP is shown"))
    assert "This is about these two checkpoints" in " ".join(text.split())
    assert "Images with the largest change, 2 of" in text
    assert "The intervals hold all rows together with 95 %" in text
    written = json.loads(out.read_text())
    with pytest.raises(SystemExit):
        main([*common, "--json"])
    assert json.loads(capsys.readouterr().out) == written
    assert written["overall"][0]["difference"] == written["overall"][0]["b"] - written["overall"][0]["a"]
    with pytest.raises(SystemExit) as stop:
        main(["compare", str(a), str(b)])
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("error: files of detections need their ground truth")
