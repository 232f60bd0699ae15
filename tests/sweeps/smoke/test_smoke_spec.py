"""The smoke form of every shipped definition: what is replaced, and what stays as in the real run."""

import json
from pathlib import Path
from typing import Any

import pytest

from c2d.core.errors import InputError
from c2d.data.card_lookup import load_card
from c2d.data.coco_file import read_coco
from c2d.specs.schedule import Schedule
from c2d.specs.spec import RunSpec
from c2d.specs.teachers import needed_runs
from sweeps.definition.definition import definition_names, parse_definition, read_definition
from sweeps.smoke.smoke_data import SmokeData
from sweeps.smoke.smoke_grid import SmokeGrid, smoke_grid

LATER = {"iterations": 2, "batch": 2, "val_interval": None}
REPLACED = {*LATER, "warmup", "milestones", "precision", "min_top1", "input", "crops"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SmokeData:
    folder = tmp_path_factory.mktemp("smoke")
    return SmokeData(folder / "data", folder / "no-real-data")


def grid_of(name: str, data: SmokeData) -> SmokeGrid:
    return smoke_grid(read_definition(name), data.root.parent / "runs", data)


@pytest.mark.parametrize("name", definition_names())
def test_every_cell_of_a_definition_has_a_smoke_form(name: str, data: SmokeData) -> None:
    definition, found = read_definition(name), grid_of(name, data)
    assert len(found.grid.cells) == len(definition.cells())
    made: set[str] = set()
    for run, spec in found.specs().items():
        real = found.real[run]
        assert set(needed_runs(spec.teachers).values()) <= made, "a teacher comes before its students"
        made.add(run)
        assert spec.dataset.name.startswith("smoke")
        assert spec.schedule.name == "smoke"
        assert (spec.seed, spec.kind, spec.network, spec.student) == (0, real.kind, real.network, real.student)
        assert [list(item) for item in spec.method] == [list(item) for item in real.method]
        assert spec.overrides.items() >= real.overrides.items()
        assert len(needed_runs(spec.teachers)) == len(needed_runs(real.teachers))
        check_schedule(spec, real)


def check_schedule(spec: RunSpec, real: RunSpec) -> None:
    """Optimizer, policy, loss and all other values are those of the real run."""
    if not isinstance(real.schedule.values, Schedule):
        return
    small, full = (json.loads(one.schedule.values.model_dump_json()) for one in (spec, real))
    assert {key: small[key] for key in LATER} == LATER
    assert {k: v for k, v in small.items() if k not in REPLACED} == {k: v for k, v in full.items() if k not in REPLACED}


def test_sizes_of_an_axis_stay_apart(data: SmokeData) -> None:
    teachers = [spec for spec in grid_of("icod-teacher", data).grid.teachers if spec.network == "resnet50"]
    assert sorted(spec.input or 0 for spec in teachers) == [35, 39, 46]  # 32 + 56/16, 112/16, 224/16
    images = {cell.spec.teachers.impressions for cell in grid_of("moi-images", data).grid.cells}
    assert len(images - {None}) == 10  # five numbers of images, each optimised and noise


def test_methods_teach_from_the_first_step(data: SmokeData) -> None:
    methods: dict[str, dict[str, Any]] = {}
    for cell in grid_of("methods", data).grid.cells:
        for item in cell.spec.method:
            methods |= item
    assert (methods["fgfi"]["start"], methods["frs"]["ramp"], methods["maskd"]["token_iterations"]) == (0, 1, 1)
    assert methods["fgfi"]["lambda_imit"] == read_parameter("fgfi", "lambda_imit")


def read_parameter(method: str, name: str) -> Any:
    from c2d.specs.catalog import method_catalog

    return method_catalog()[method]["schema"]["properties"][name]["default"]


def test_weights_are_neither_downloaded_nor_forgotten(data: SmokeData) -> None:
    found = grid_of("icod-students", data)
    used = {spec.init for spec in found.specs().values()}
    assert used <= {"none", "backbone"}
    assert "torchvision:vgg16.IMAGENET1K_FEATURES" in {spec.init for spec in found.real.values()}  # for its pixels


def test_data_sets_have_the_real_class_list_small_boxes_and_an_image_without(data: SmokeData) -> None:
    grid_of("icod-layers", data)
    card = load_card("smoke80", data.root)
    assert (len(card.card.classes), card.card.classes[:2]) == (80, ["person", "bicycle"])
    train = read_coco(card.annotations("train"))
    assert len(train["images"]) + len(read_coco(card.annotations("val"))["images"]) == 8
    assert {box["image_id"] for box in train["annotations"]} == {1, 2, 3, 4, 5}  # not 6
    assert min(box["area"] for box in train["annotations"]) == pytest.approx(0.05 * 160 * 0.07 * 120)


def test_a_protocol_has_what_it_reads(data: SmokeData) -> None:
    grid_of("moi-voc", data)
    card = load_card("smoke20-voc", data.root)
    assert card.card.protocol == "voc"
    flags = [box["protocol"]["difficult"] for box in read_coco(card.annotations("val"))["annotations"]]
    assert set(flags) == {0, 1}


def test_an_unknown_data_set_is_an_error(data: SmokeData, tmp_path: Path) -> None:
    text = "question: Q?\nbase: {dataset: nowhere, student: retinanet-qr18, schedule: demo}\n"
    with pytest.raises(InputError, match="unknown data set 'nowhere'"):
        smoke_grid(parse_definition(text, "mine.yaml", "mine"), tmp_path, data)


def test_a_filter_that_names_no_cell_is_refused_as_by_other_commands(data: SmokeData, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown label of axis method: 'none'.*baseline"):
        smoke_grid(read_definition("demo"), tmp_path, data, ["method=none"])
    chosen = smoke_grid(read_definition("demo"), tmp_path, data, ["method=baseline"])
    assert (len(chosen.grid.cells), chosen.grid.teachers) == (1, [])
