"""The sheet of detections: which images, seeds and boxes, what a verdict is, and figures with and without pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analysis.loading.load import read_study
from analysis.plots import box_labels, detections, image_files, image_grid
from analysis.plots.figure_files import read_csv
from analysis.report.report_spec import parse
from benchmarks.suite import synthetic_run
from benchmarks.suite.synthetic_run import write_json_gz
from benchmarks.suite.synthetic_store import make_store
from tests.analysis.plots.figures import save

SPEC = parse({"kind": "detections", "baseline": {"method": "baseline"}, "images": 2, "min_objects": 3})


@pytest.fixture(autouse=True)
def _no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("C2D_DATA", str(tmp_path / "data"))


def words(figure: object) -> str:
    return " ".join(text.get_text() for text in figure.texts).replace("\n", " ")  # type: ignore[attr-defined]


def found(image: int, category: int, box: list[float], score: float) -> dict[str, object]:
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}


def test_verdicts_by_hand(tmp_path: Path):
    record = make_store(tmp_path, {"method": ["baseline"]}, seeds=1, with_detections=True)
    # Image 1 of the made store: 16-px boxes at x = 4, 23, 42, 61, 80, y = 22; classes 2, 3, 1, 2, 3.
    truth = [box for box in synthetic_run.targets()["annotations"] if box["image_id"] == 1]
    x, y = truth[0]["bbox"][:2]
    right, wrong = truth[0]["category_id"], truth[1]["category_id"] % 3 + 1
    listed = [
        found(1, right, [x, y, 16, 16], 0.9),
        found(1, wrong, [x + 1, y, 16, 16], 0.8),  # the same place, a lower score: not shown
        found(1, wrong, [truth[1]["bbox"][0], y, 16, 16], 0.7),
        found(1, right, [40, 80, 16, 16], 0.6),
        found(1, right, [70, 80, 16, 16], 0.2),  # below min_score
    ]
    run = tmp_path / record["cells"][0]["run"]
    write_json_gz(run / "detections.json.gz", listed)
    data = detections.data(read_study(tmp_path), SPEC, "made")
    shown = data[(data["part"] == "found") & (data["image"] == "1")]
    assert list(zip(shown["verdict"], shown["object"], shown["score"], strict=True)) == [
        ("right", "1", 0.9), ("class", "2", 0.7), ("place", "", 0.6),
    ]  # fmt: skip
    assert set(shown["runs"]) == {run.name}


def test_a_detection_in_a_crowd_is_left_out(tmp_path: Path):
    record = make_store(tmp_path, {"method": ["baseline"]}, seeds=1, with_detections=True)
    truth = synthetic_run.targets()
    crowd = {"id": 999, "image_id": 1, "category_id": 1, "area": 900.0, "iscrowd": 1, "bbox": [50, 60, 30, 30]}
    write_json_gz(next((tmp_path / "targets").iterdir()), {**truth, "annotations": [*truth["annotations"], crowd]})
    write_json_gz(tmp_path / record["cells"][0]["run"] / "detections.json.gz",
             [found(1, 1, [55, 65, 10, 10], 0.9), found(1, 2, [55, 65, 10, 10], 0.5)])  # fmt: skip
    data = detections.data(read_study(tmp_path), SPEC, "made")
    # Only the better one of a place is judged, and that one lies in a crowd of its class.
    assert data[data["part"] == "found"].empty
    assert len(data[(data["part"] == "truth") & (data["image"] == "1")]) == 5


def test_images_are_the_first_with_enough_objects(tmp_path: Path):
    record = make_store(tmp_path, {"method": ["baseline"]}, seeds=1, with_detections=True)
    truth = synthetic_run.targets()
    kept = [box for box in truth["annotations"] if box["image_id"] != 2 or box["id"] % 5 == 0]
    write_json_gz(next((tmp_path / "targets").iterdir()), {**truth, "annotations": kept})
    data = detections.data(read_study(tmp_path), SPEC, "made")
    assert record["cells"]
    assert list(data[data["part"] == "image"]["image"]) == ["1", "3"]
    many = parse({"kind": "detections", "min_objects": 50})
    assert (
        "50 objects"
        in detections.draw(detections.data(read_study(tmp_path), many, "made"), many).axes[0].texts[0].get_text()
    )


def test_the_seed_is_the_lowest_that_all_rows_have(tmp_path: Path):
    make_store(tmp_path, {"method": ["c2d", "baseline", "late"]}, with_detections=True,
               state=lambda labels, seed: {"baseline": "failed" if seed == 0 else "done", "c2d": "done",
                                           "late": "new"}[labels["method"]])  # fmt: skip
    data = detections.data(read_study(tmp_path), SPEC, "made")
    heads = data[data["part"] == "row"]
    assert list(heads["row"]) == ["baseline", "c2d", "late"]  # the baseline first
    assert list(heads["seeds"]) == ["1", "1", ""]
    figure = detections.draw(data, SPEC)
    assert "late: no finished run" in words(figure)
    assert "seed 1" in words(figure)


def test_pixels_come_from_the_data_root(tmp_path: Path):
    make_store(tmp_path / "runs", {"method": ["baseline", "c2d"]}, with_detections=True)
    folder = tmp_path / "data" / "anything"
    (folder / "pictures").mkdir(parents=True)
    for k in range(6):
        Image.fromarray(np.full((100, 100, 3), 30 * k + 30, np.uint8)).save(folder / "pictures" / f"{k}.png")
    card = {"format": 1, "name": "scenes", "digest": synthetic_run.DIGEST, "classes": [],
            "splits": {"val": {"annotations": "x.json", "images": "pictures"}}}  # fmt: skip
    (folder / "card.json").write_text(json.dumps(card))
    data = detections.data(read_study(tmp_path / "runs"), SPEC, "made")
    assert list(data[data["part"] == "image"]["file"]) == ["anything/pictures/0.png", "anything/pictures/1.png"]
    figure = detections.draw(data, SPEC)
    assert sum(len(axes.images) for axes in figure.axes) == 3 * 2
    assert "without their images" not in words(figure)
    (folder / "pictures" / "0.png").write_bytes(b"no picture")
    assert "1 of 2 were found" in words(detections.draw(data, SPEC))
    card["digest"] = "f" * 64
    (folder / "card.json").write_text(json.dumps(card))
    other = detections.data(read_study(tmp_path / "runs"), SPEC, "made")
    assert set(other[other["part"] == "image"]["file"]) == {""}
    assert "none of 2 was found" in words(detections.draw(other, SPEC))


def test_pixels_are_in_the_frame_of_training(tmp_path: Path):
    """Boxes are: training applies the EXIF orientation of a JPEG file, and not that of a WebP file."""
    exif = Image.Exif()
    exif[0x112] = 6
    for name in ("a.jpg", "a.webp"):
        Image.new("RGB", (40, 20), (200, 0, 0)).save(tmp_path / name, exif=exif)
    upright, stored = (image_files.read_pixels(tmp_path, name, 10) for name in ("a.jpg", "a.webp"))
    assert upright is not None
    assert stored is not None
    assert (upright.shape, stored.shape) == ((10, 5, 3), (5, 10, 3))
    assert upright[5, 2].tolist() == pytest.approx([200, 0, 0], abs=4)
    assert image_files.read_pixels(tmp_path, "absent.jpg", 10) is None


@pytest.mark.parametrize("name", ["coco2017", "voc0712"])
def test_cards_are_found_as_c2d_writes_them(tmp_path: Path, name: str):
    from c2d.data.public import public_cards

    public = public_cards()[name]
    splits = {
        split: {"annotations": "a.json", "images": f"{split}-images", "digest": "0", **entry.model_dump()}
        for split, entry in public.splits.items()
    }
    card = {"format": 1, "name": name, "classes": public.classes, "digest": "of its files", "splits": splits}
    if name == "voc0712":  # the digest is that of the objects in its files, not of the boxes that remain
        card["source"] = {"objects": {split: entry.n_objects for split, entry in public.splits.items()}}
    (tmp_path / name).mkdir()
    (tmp_path / name / "card.json").write_text(json.dumps(card))
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "card.json").write_text("{")
    assert image_files._public_digest(card) == public.digest
    wanted = f"{name}/{splits['val']['images']}" if "val" in splits else None
    assert image_files.image_folder(name, public.digest, tmp_path) == wanted
    assert image_files.image_folder(name, "another", tmp_path) is None


def test_the_figure_is_drawn_again_from_its_csv(tmp_path: Path):
    make_store(tmp_path / "runs", {"method": ["baseline", "$x$_\\", "0.10"]}, with_detections=True)
    data = detections.data(read_study(tmp_path / "runs"), SPEC, "made")
    first = save(detections.draw(data, SPEC), data, tmp_path / "first")
    again = read_csv(first[2])
    second = save(detections.draw(again, SPEC), again, tmp_path / "second")
    assert [a.read_bytes() == b.read_bytes() for a, b in zip(first, second, strict=True)] == [True] * 3


def test_damaged_files_are_named(tmp_path: Path):
    record = make_store(tmp_path, {"method": ["baseline", "c2d"]}, seeds=1, with_detections=True)
    (tmp_path / record["cells"][1]["run"] / "detections.json.gz").write_bytes(b"\x1f\x8b damaged")
    data = detections.data(read_study(tmp_path), SPEC, "made")
    assert list(data[data["part"] == "row"]["n"]) == [1, 0]
    assert "damaged" in words(detections.draw(data, SPEC))
    next((tmp_path / "targets").iterdir()).unlink()
    figure = detections.draw(detections.data(read_study(tmp_path), SPEC, "made"), SPEC)
    assert "ground truth" in " ".join(text.get_text() for text in figure.axes[0].texts)


def test_labels_lie_in_the_picture_and_on_no_other():
    boxes = [
        {"x": x, "y": y, "w": 30.0, "h": 20.0, "score": 0.5, "class": "chequered", "verdict": "right"}
        for x in (0.0, 10.0, 75.0)
        for y in (0.0, 5.0, 80.0)
    ]
    placed = box_labels.place_box_labels(boxes, 1.2, 1.2, 120.0, 120.0)
    assert 6 <= len(placed) <= 9
    for label in placed:
        assert label.left >= -0.01
        assert label.left + label.width <= 120.01
        assert -0.01 <= label.top <= 120.01 - box_labels.LINE
    for k, a in enumerate(placed):
        assert (
            sum(box_labels._shared(a, b) for b in placed[:k]) <= box_labels.MAY_COVER * a.width * box_labels.LINE + 1e-6
        )


def test_images_stand_in_even_blocks():
    assert [image_grid.column_count(n) for n in (1, 4, 6, 7, 8, 12, 13, 24)] == [1, 4, 6, 4, 4, 6, 5, 6]
