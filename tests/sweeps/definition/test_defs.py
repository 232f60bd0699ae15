"""The shipped definitions: how many cells, runs and teachers each has, counted by hand, and without any data."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from c2d.core.run_folder import RunFolder, atomic_write_json
from c2d.data.scenes.make_scenes import make_scenes
from c2d.specs.names import look_up_names, names_in
from c2d.specs.resolve_spec import resolve_spec
from sweeps.definition.definition import definition_names, read_definition
from sweeps.definition.expand import Cell, Grid, expand
from tests.sweeps.definition import definition_table

ZOO = Path(__file__).parents[3] / "c2d" / "configs" / "zoo.json"
NOWHERE = Path("no") / "such" / "folder"
DEMO_DATA = "d0f6c394137470620132258dc1afef706e104e07eae4b9fca31739c013e80a7e"  # 600 and 300 scenes of seed 0

SMALL = ("demo", "demo-full", "methods", "moi-scenes", "moi-scenes-dense", "moi-images", "moi-iterations", "moi-priors",
         "moi-presets", "teacher-fit", "modern-bccd", "modern-coco-mini",
         "study-recipe", "study-schedule", "study-trial", "study-terms", "study-rivals", "study-heads",
         "study-teachers", "study-images", "study-bccd", "study-bccd-again", "study-bccd-icod-again",
         "study-same-time", "study-ablations", "study-students")  # fmt: skip
WITHOUT_CARD = ("kitti", "voc", "bccd", "coco_mini", "scenes-180", "scenes-60")
"""Data sets whose card is the user's own."""
SSD = ("icod-students", "icod-weight-temperature", "icod-layers", "icod-iou", "icod-tide")

BASELINES_ALONE = ("study-recipe", "study-schedule")
FIVE_SEEDS = ("demo", "demo-full")
SEEDS = {
    "study-recipe": range(1),
    "study-trial": range(1),
    "study-bccd": range(6),
    "study-bccd-again": range(3, 8),
    "study-bccd-icod-again": range(6, 11),
    **dict.fromkeys(FIVE_SEEDS, range(5)),
}
"""{definition: its seeds}; the others have 0, 1 and 2."""
# name: cells, distinct runs, teachers. Three seeds each: 3 x (rows), 3 x (different rows).
COUNTS = {
    "demo": (5 * 4, 5 * 4, 1),
    "demo-full": (5 * 6, 5 * 6, 2),
    # The study: baselines alone, six seeds of the main table, three of the others.
    "study-recipe": (3 * 3, 3 * 3, 0),
    "study-schedule": (3 * 7 * 5, 3 * 7 * 5, 0),
    "study-trial": (4, 4, 1),
    "study-terms": (3 * 4, 3 * 4, 1),
    "study-rivals": (3 * 14, 3 * 14, 3),
    "study-heads": (3 * 6, 3 * 6, 3),
    "study-ablations": (3 * 20, 3 * 20, 4),
    "study-teachers": (3 * 6, 3 * 6, 5),
    "study-students": (3 * 6 * 2, 3 * 6 * 2, 1),
    "study-images": (3 * 3 * 2, 3 * 3 * 2, 3),
    "study-bccd": (6 * 4, 6 * 4, 1),
    "study-bccd-again": (5 * 2, 5 * 2, 1),
    "study-bccd-icod-again": (5 * 2, 5 * 2, 1),
    "study-same-time": (3 * 3, 3 * 3, 1),
    "methods": (3 * (3 * 22 - 11), 3 * 55, 4),
    "icod-students": (3 * 4 * 5, 60, 3),  # 4 students x 5 rows; SSD's teacher and the others', QR50's backbone
    "icod-weight-temperature": (3 * 2 * 7, 3 * (7 + 1), 1),  # 7 pairs for two methods; the baseline is one run
    "icod-teacher": (3 * 2 * 5, 3 * (5 + 1), 5),
    "icod-crop-size": (3 * 2 * 5, 3 * (5 + 1), 0),  # pixels alone: no teacher
    "icod-pooling": (3 * 2 * 4, 3 * (4 + 1), 0),
    "icod-layers": (3 * 2 * 4, 3 * (4 + 1), 1),
    "icod-iou": (3 * 4, 12, 1),
    "icod-tide": (3 * 4, 12, 1),
    "icod-detectors": (3 * (7 + 6 + 3 * 4), 75, 5),  # two classifiers, two detectors, QR50's backbone
    # The main results of one paper each: students x rows.
    "defeat-main": (3 * (4 + 3), 21, 2),  # Faster R-CNN has proposals, RetinaNet none
    "fgfi-main": (3 * 2 * 2, 12, 2),
    "gid-main": (3 * 3 * 2, 18, 3),
    "gkd-main": (3 * 2 * 3, 18, 2),
    "frs-main": (3 * 5 * 2, 30, 4),  # two GFL students share a teacher
    # A baseline under two teachers is one run; no cascade is inherited.
    "fgd-main": (3 * (5 * 3 - 1), 3 * (3 + 5 + 4), 5),
    "ld-main": (3 * 3 * 3, 27, 1),
    "pkd-main": (3 * 3 * 2, 18, 3),
    "crosskd-main": (3 * 4 * 3, 36, 4),
    "rivals": (3 * (11 + 12), 69, 3),
    "teacher-fit": (
        3 * 2 * 2 * 3 * 2,
        3 * 2 * (6 + 1),
        3 * 2,
    ),  # three fits with and without context; one baseline a student
    "modern-bccd": (3 * 3 * 4, 36, 3),
    "modern-coco-mini": (3 * 2 * 4, 24, 3),
    # Two capacities; four controls without a method, impressions with each; the detector and four sets of images.
    "moi-scenes": (3 * 2 * (6 + 4), 60, 1 + 4),
    "moi-scenes-dense": (3 * 2 * (6 + 3), 54, 1 + 4),  # Chen's terms are of two-stage detectors
    "moi-images": (3 * 3 * 5, 3 * (5 + 5 + 1), 1 + 5 + 5),  # a control has its impressions; the real row is one run
    "moi-iterations": (3 * 2 * 4, 3 * (4 + 1), 1 + 4),
    "moi-priors": (3 * (1 + 8 + 8), 3 * (1 + 8 + 1), 1 + 8 + 1),  # three priors on and off
    "moi-presets": (3 * (3 * (1 + 1 + 1) + 1), 3 * (3 + 4 + 1), 1 + 3 + 3),  # one preset draws soft labels
    "moi-kitti": (3 * 2 * (6 + 4), 60, 1 + 4),
    "moi-voc": (3 * 2 * (6 + 4), 60, 1 + 4),
    "moi-coco": (3 * 2 * (6 + 4), 60, 1 + 4),
}


@cache
def planned(name: str, runs: Path = NOWHERE) -> Grid:
    definition = read_definition(name)
    cells = definition.cells()
    lookup = look_up_names(names_in(cell.values for cell in cells), runs, NOWHERE)
    # Scenes are drawn before their card exists; these are the scenes of the demo.
    known = {"scenes": ("scenes", DEMO_DATA), **{other: (other, "f" * 64) for other in WITHOUT_CARD}}
    lookup = replace(lookup, datasets={given: known.get(given, found) for given, found in lookup.datasets.items()})
    return expand(definition, cells, lookup)


def distinct(cells: list[Cell], *keys: str) -> set[tuple[str, ...]]:
    return {tuple(cell.labels[key] for key in keys) for cell in cells}


def test_every_definition_is_counted() -> None:
    assert set(COUNTS) == set(definition_names())


@pytest.mark.parametrize("name", COUNTS)
def test_cells_runs_and_teachers(name: str) -> None:
    found = planned(name)
    assert (len(found.cells), len({c.run for c in found.cells}), len(found.teachers)) == COUNTS[name]
    assert {cell.seed for cell in found.cells} == set(SEEDS.get(name, range(3)))
    if name not in BASELINES_ALONE:
        assert any(label.endswith("baseline") for cell in found.cells for label in cell.labels.values())


@pytest.mark.parametrize("name", COUNTS)
def test_a_definition_begins_with_its_question(name: str) -> None:
    definition = read_definition(name)
    assert definition.question.endswith("?")
    first = next(line for line in definition.text.splitlines() if not line.startswith("#"))
    assert first.startswith("question: ")
    assert definition.size == ("small" if name in SMALL else "large")


def test_the_specs_of_the_demo_are_unchanged() -> None:
    found = planned("demo")
    assert [spec.id for spec in found.teachers] == ["resnet18-classifier-0e1dbdaf7c31-s0"]
    assert {cell.labels["method"]: cell.run for cell in found.cells if cell.seed == 0} == {
        "baseline": "retinanet-qr18-baseline-bf5470675445-s0",
        "kd_cls": "retinanet-qr18-icod-a196ee63827b-s0",
        "loc": "retinanet-qr18-icod-f6a653393cb6-s0",
        "c2d": "retinanet-qr18-icod-069cfed28d16-s0",
    }


def test_the_demos_cells_are_those_that_train_would_make(tmp_path: Path) -> None:
    make_scenes(tmp_path / "data" / "scenes", train=2, val=1, size=64, seed=0)
    runs, definition = tmp_path / "runs", read_definition("demo")
    cells = definition.cells()
    lookup = look_up_names(names_in(cell.values for cell in cells), runs, tmp_path / "data")
    found = expand(definition, cells, lookup)
    given = {"network": "resnet18", "schedule": "demo-classifier", "dataset": "scenes"}
    teacher = resolve_spec(given, where="demo", runs=runs, data=tmp_path / "data")
    atomic_write_json(RunFolder(runs / teacher.id).spec, teacher.to_json())
    small = {"max_positives": 64}
    asked: dict[str, list[Any]] = {
        "baseline": [],
        "kd_cls": [{"icod": {"lambda_kl": 0, "lambda_l": 0, **small}}],
        "loc": [{"icod": {"lambda_kc": 0, **small}}],
        "c2d": [{"icod": small}],
    }
    for name, method in asked.items():
        question: dict[str, Any] = {
            "student": "retinanet-qr18",
            "schedule": {"name": "study", "values": {"iterations": 900}},
            "dataset": "scenes",
            "method": method,
            "seed": 2,
        }
        spec = resolve_spec(
            {**question, "teachers": {"classifier": teacher.id}}, where="demo", runs=runs, data=tmp_path / "data"
        )
        (cell,) = [cell for cell in found.cells if cell.labels["method"] == name and cell.seed == 2]
        assert (cell.run, cell.spec) == (spec.id, spec)


def test_table_1_has_the_papers_students_under_their_own_schedules_and_teachers() -> None:
    found = planned("icod-students")
    teachers = {spec.id: spec for spec in found.teachers}
    facts = {
        cell.labels["model"]: (
            cell.spec.student.name,
            cell.spec.schedule.name,
            cell.spec.init,
            teachers[str(cell.spec.teachers.classifier)].schedule.name,
            teachers[str(cell.spec.teachers.classifier)].init,
        )
        for cell in found.cells
        if cell.labels["method"] == "all" and cell.spec.student and cell.spec.teachers.classifier
    }
    vgg, imagenet = "torchvision:vgg16.IMAGENET1K_FEATURES", "torchvision:resnet50.IMAGENET1K_V1"
    assert facts == {
        "ssd300": ("ssd300-vgg16", "ssd", vgg, "coco-ssd", "none"),
        "ssd512": ("ssd512-vgg16", "ssd", vgg, "coco-ssd", "none"),
        "frcnn-qr50": ("faster-rcnn-qr50", "1x", "backbone", "coco-general", imagenet),
        "frcnn-mv2": ("faster-rcnn-mbv2", "1x", "torchvision:mobilenet_v2.IMAGENET1K_V1", "coco-general", imagenet),
    }
    assert {spec.network for spec in found.teachers} == {"resnet50", "student:faster-rcnn-qr50"}
    (backbone,) = (spec for spec in found.teachers if spec.dataset.name == "imagenet")
    assert (backbone.input, backbone.training.batch, backbone.training.iterations) == (224, 256, 90 * 5005)
    started = {cell.labels["model"] for cell in found.cells if cell.spec.teachers.backbone == backbone.id}
    assert started == {"frcnn-qr50"}
    weights = {
        cell.labels["method"]: tuple(cell.spec.method[0]["icod"][key] for key in ("lambda_kc", "lambda_l", "lambda_kl"))
        for cell in found.cells
        if cell.spec.method
    }
    assert weights == {
        "kd_cls": (0.4, 0, 0),
        "loc": (0, 0.15, 0),
        "loc+kd_loc": (0, 0.15, 0.15),
        "all": (0.4, 0.15, 0.15),
    }


def test_table_3a_is_exactly_the_published_pairs() -> None:
    found = planned("icod-weight-temperature")
    taught = [cell for cell in found.cells if cell.spec.method]
    published = {(0.1, 1), (0.1, 2), (0.2, 1), (0.3, 1), (0.4, 1), (0.4, 2), (0.4, 3)}
    params = [cell.spec.method[0]["icod"] for cell in taught]
    assert {(p["lambda_kc"], p["T"]) for p in params} == published
    assert len(taught) == 3 * 7
    assert all((p["lambda_kl"], p["lambda_l"]) == (0, 0) for p in params)
    assert len({cell.run for cell in found.cells if cell.seed == 0 and not cell.spec.method}) == 1


def test_table_3b_is_three_networks_and_two_more_sizes() -> None:
    teachers = [(spec.network, spec.input) for spec in planned("icod-teacher").teachers]
    assert sorted(teachers, key=str) == [
        ("resnet18", 112),
        ("resnet50", 112),
        ("resnet50", 224),
        ("resnet50", 56),
        ("resnext101_32x8d", 112),
    ]


def icod(name: str) -> list[tuple[dict[str, Any], Cell]]:
    """ICOD's parameters and the cell, of seed 0, in the order of the sweep."""
    cells = [cell for cell in planned(name).cells if cell.spec.method and cell.seed == 0]
    return [(cell.spec.method[0]["icod"], cell) for cell in cells]


@pytest.mark.parametrize(
    ("name", "sizes", "pooling"),
    [("icod-crop-size", [14, 28, 56, 112, 224], [4] * 5), ("icod-pooling", [112] * 4, [2, 4, 8, 16])],
)
def test_tables_4a_and_4b_vary_the_pixel_term_alone(name: str, sizes: list[int], pooling: list[int]) -> None:
    assert [(p["size"], p["pooling"]["crop"]) for p, _ in icod(name)] == list(zip(sizes, pooling, strict=True))
    for p, cell in icod(name):
        assert (p["lambda_kc"], p["lambda_kl"], p["lambda_l"]) == (0, 0, 0.15)
        assert (cell.spec.teachers.classifier, cell.spec.teachers.detector) == (None, None)


def test_table_4c_has_features_in_all_rows_but_the_first() -> None:
    rows = icod("icod-layers")
    assert [p["lambda_kl"] for p, _ in rows] == [0, 0.15, 0.15, 0.15]
    assert [p["layers"] for p, _ in rows[1:]] == [["l0"], ["crop", "l0"], ["crop", "l0", "l1"]]
    assert [p["pooling"] for p, _ in rows] == [{"crop": 8}, *[{"crop": 4, "l0": 8}] * 3]
    assert [cell.spec.teachers.classifier is not None for _, cell in rows] == [False, True, True, True]
    assert all(p["lambda_kc"] == 0 for p, _ in rows)


def test_rows_with_equal_published_triples_are_one_run() -> None:
    size, pooling, layers = (
        {cell.labels[axis]: cell.run for _, cell in icod(name)}
        for name, axis in (("icod-crop-size", "method.icod.size"), ("icod-pooling", "method.icod.pooling"),
                           ("icod-layers", "layers"))
    )  # fmt: skip
    assert size["112"] == pooling["4"]
    (table_1,) = [cell.run for _, cell in icod("icod-students")
                  if (cell.labels["model"], cell.labels["method"]) == ("ssd300", "loc")]  # fmt: skip
    assert table_1 == pooling["8"] == layers["raw"]
    assert pooling["4"] != pooling["8"]


def test_rows_of_several_tables_are_one_run() -> None:
    """KD_cls at weight 0.4 and T 2 is in tables 1, 3a, 3b (twice) and 5 (26.3), L_loc + KD_loc in 1, 4c, 5 (27.2)."""
    ssd300 = {cell.labels["method"]: cell.run for _, cell in icod("icod-students") if cell.labels["model"] == "ssd300"}
    (best,) = {cell.run for p, cell in icod("icod-weight-temperature") if (p["lambda_kc"], p["T"]) == (0.4, 2)}
    (r50,) = {
        cell.run for _, cell in icod("icod-teacher")
        if [cell.labels[f"teacher.classifier.{key}"] for key in ("network", "input")] == ["resnet50", "112"]
    }  # fmt: skip
    assert ssd300["kd_cls"] == best == r50
    (pixels_and_l0,) = {cell.run for _, cell in icod("icod-layers") if cell.labels["layers"] == "raw+l0"}
    assert ssd300["loc+kd_loc"] == pixels_and_l0


@pytest.mark.parametrize("name", ["icod-iou", "icod-tide"])
def test_table_5_and_the_tide_figure_are_runs_of_table_1(name: str) -> None:
    table_1 = {(cell.labels["method"], cell.seed): cell.run for cell in planned("icod-students").cells
               if cell.labels["model"] == "ssd300"}  # fmt: skip
    found = planned(name)
    assert [cell.labels["method"] for cell in found.cells if cell.seed == 0] == [
        "baseline",
        "kd_cls",
        "loc+kd_loc",
        "all",
    ]
    assert all(cell.run == table_1[cell.labels["method"], cell.seed] for cell in found.cells)
    assert {spec.id for spec in found.teachers} <= {spec.id for spec in planned("icod-students").teachers}


def test_the_ssd_sweeps_share_their_teacher() -> None:
    shared = {planned(name).teachers[0].id for name in COUNTS if name in SSD}
    assert len(shared) == 1
    assert shared <= {spec.id for spec in planned("icod-teacher").teachers}


def baselines(name: str, student: str, schedule: str) -> set[str]:
    """Runs of seed 0 of a student without a method under a schedule."""
    return {
        cell.run
        for cell in planned(name).cells
        if cell.seed == 0 and not cell.spec.method and cell.spec.student and cell.spec.student.name == student
        and cell.spec.schedule.name == schedule
    }  # fmt: skip


@pytest.mark.parametrize(
    ("student", "schedule", "sweeps"),
    [
        ("ssd300-vgg16", "ssd", [*SSD, "icod-teacher", "icod-crop-size", "icod-pooling"]),
        (
            "faster-rcnn-r50",
            "2x",
            ["icod-detectors", *(f"{name}-main" for name in ("fgfi", "gid", "gkd", "fgd", "pkd"))],
        ),
        (
            "retinanet-r50",
            "2x-dense",
            ["icod-detectors", "rivals", "fgfi-main", "frs-main", "fgd-main", "crosskd-main"],
        ),
        ("gfl-r50", "1x-dense", ["frs-main", "ld-main", "crosskd-main"]),
    ],
)
def test_a_baseline_is_one_run_in_all_sweeps(student: str, schedule: str, sweeps: list[str]) -> None:
    found = {name: baselines(name, student, schedule) for name in sweeps}
    assert {name: len(runs) for name, runs in found.items()} == dict.fromkeys(sweeps, 1)
    assert len(set.union(*found.values())) == 1


def test_the_classifiers_of_tables_1_and_2_are_the_same_runs() -> None:
    by_table = [
        {spec.schedule.name: spec.id for spec in planned(name).teachers if spec.kind == "classifier"}
        for name in ("icod-students", "icod-detectors")
    ]
    assert by_table[0] == by_table[1]
    assert {"coco-ssd", "coco-general"} <= set(by_table[0])


def test_model_zoo_files_in_comments_exist_with_that_ap() -> None:
    known = {stem: file["ap_percent"] for stem, file in json.loads(ZOO.read_text())["files"].items()}
    named = [
        (name, stem, float(ap))
        for name in COUNTS
        for stem, ap in re.findall(
            r"^#   (\S+-[0-9a-f]{8}) \(([0-9.]+) AP\)$", read_definition(name).text, re.MULTILINE
        )
    ]
    assert {name for name, _, _ in named} == {
        f"{name}-main" for name in ("fgfi", "gkd", "frs", "fgd", "ld", "pkd", "crosskd")
    }
    assert [(stem, ap) for _, stem, ap in named if known.get(stem) != ap] == []


def test_the_page_has_the_counts_of_all_definitions_of_papers() -> None:
    page = definition_table.PAGE.read_text(encoding="utf-8")
    assert page == definition_table.page_with(definition_table.table(), page)
    assert all(f"| `{name}` |" in page for name in COUNTS if name.startswith("icod-") or name.endswith("-main"))


def test_the_full_demo_holds_the_demos_runs() -> None:
    small, full = ({cell.run for cell in planned(name).cells} for name in ("demo", "demo-full"))
    assert small < full
    assert {spec.kind for spec in planned("demo-full").teachers} == {"classifier", "detector"}


def test_table_2_has_the_papers_cells() -> None:
    rows = distinct(planned("icod-detectors").cells, "model", "method")
    assert len(rows) == 25
    assert {method for model, method in rows if model == "ssd512"} == {"baseline", "fkd", "icod", "icod+fkd"}
    both = next(c.spec for c in planned("icod-detectors").cells if c.labels["method"] == "icod+fkd")
    assert [next(iter(item)) for item in both.method] == ["icod", "fkd"]
    assert both.teachers.classifier
    assert both.teachers.detector


@pytest.mark.parametrize("name", ["moi-scenes", "moi-scenes-dense", "moi-kitti", "moi-voc", "moi-coco"])
def test_students_without_data_and_their_controls(name: str) -> None:
    found = planned(name)
    made = {spec.id: spec for spec in found.teachers if spec.kind == "impressions"}
    (detector,) = (spec for spec in found.teachers if spec.kind == "detector")
    (optimised,) = (run for run, spec in made.items() if spec.impressions.images_from == "optimised")
    for cell in found.cells:
        spec, run = cell.spec, cell.spec.teachers.impressions
        images = cell.labels["images"]
        assert spec.data_free == (images in ("noise", "procedural", "impressions"))
        assert (run is None) == (images == "real")
        assert spec.init == "none"  # else real images would be in the start
        assert spec.student
        assert detector.student
        assert (spec.student == detector.student) == (cell.labels["capacity"] == "equal")
        if run:
            wanted = {"impressions": "optimised", "unlabelled": "real"}.get(images, images)
            assert made[run].impressions.images_from == wanted
            assert made[run].teachers.detector == detector.id
            assert made[run].teachers.impressions == (optimised if images in ("noise", "procedural") else None)
    taught = {cell.labels["method"] for cell in found.cells if cell.labels["images"] == "impressions"}
    assert taught == {"baseline", "soft_labels", "pkd"} | ({"chen"} if name != "moi-scenes-dense" else set())


def test_priors_are_on_and_off_in_all_combinations() -> None:
    specs = [spec.impressions for spec in planned("moi-priors").teachers if spec.kind == "impressions"]
    priors = [spec.priors for spec in specs if spec.images_from == "optimised"]
    on = {(found.tv_l1 + found.tv_l2 > 0, found.batch_norm > 0, found.l2 > 0) for found in priors}
    assert len(priors) == len(on) == 8
    assert all(found.detection > 0 for found in priors)


def test_presets_numbers_and_iterations_are_those_of_their_axes() -> None:
    made = {
        name: [spec for spec in planned(name).teachers if spec.kind == "impressions"]
        for name in ("moi-presets", "moi-images", "moi-iterations")
    }
    assert sorted({spec.schedule.name for spec in made["moi-presets"]}) == ["diode", "moi-small", "two-phase"]
    assert {spec.impressions.images for spec in made["moi-presets"]} == {512}
    assert sorted({spec.impressions.images for spec in made["moi-images"]}) == [64, 128, 256, 512, 1024]
    assert sorted(spec.impressions.final.iterations for spec in made["moi-iterations"]) == [30, 100, 300, 1000]


def test_planning_writes_nothing(tmp_path: Path) -> None:
    for name in COUNTS:
        planned(name, tmp_path / "runs")
    assert list(tmp_path.iterdir()) == []
