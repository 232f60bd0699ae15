"""Grids small enough to be counted by hand, and what must not change a run id."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, atomic_write_json
from c2d.specs.names import look_up_names, names_in
from c2d.specs.resolve_spec import resolve_spec
from sweeps.actions.submit import notes_of
from sweeps.definition.definition import parse_definition
from sweeps.definition.expand import Grid, expand
from tests.processor_cost import processor_cost

NOWHERE = Path("no") / "such" / "store"
HEAD = """\
question: Does it work?
base: {dataset: coco2017, student: ssd300-vgg16, schedule: ssd}
"""
TAUGHT = HEAD + "teachers: {classifier: {network: resnet50, schedule: coco-ssd}}\naxes:\n"
METHODS = TAUGHT + "  method: {baseline: [], kd: [{icod: {lambda_kl: 0}}]}\n"


def grid(text: str | dict[str, Any], runs: Path = NOWHERE) -> Grid:
    definition = parse_definition(text if isinstance(text, str) else yaml.safe_dump(text), "x.yaml", "x")
    cells = definition.cells()
    return expand(definition, cells, look_up_names(names_in(cell.values for cell in cells), runs, NOWHERE))


def refused(text: str, runs: Path = NOWHERE) -> list[str]:
    with pytest.raises(InputError) as caught:
        grid(text, runs)
    return str(caught.value).splitlines()


def labels(found: Grid) -> list[str]:
    return [" ".join([*cell.labels.values(), f"s{cell.seed}"]) for cell in found.cells]


def test_a_detector_of_the_model_zoo_needs_evaluation_only() -> None:
    text = """
question: q
base: {dataset: coco2017, student: retinanet-r50, schedule: 1x-dense}
teachers:
  detector: {student: retinanet-r101, init: zoo:retinanet_r101_fpn_2x_coco_20200131-5560aee8, schedule: no-training}
axes: {method: [[fgd]]}
"""
    (line,) = notes_of(found := grid(text))
    (teacher,) = found.teachers
    assert teacher.is_evaluation_only
    assert line == f"{teacher.id} needs evaluation only (zoo:retinanet_r101_fpn_2x_coco_20200131-5560aee8)"


def test_two_by_two_in_file_order_seeds_innermost() -> None:
    found = grid(HEAD + "axes:\n  input: [300, 320]\n  student: [ssd512-vgg16, ssd300-vgg16]\nseeds: [4, 0]\n")
    assert labels(found) == [
        "300 ssd512-vgg16 s4",
        "300 ssd512-vgg16 s0",
        "300 ssd300-vgg16 s4",
        "300 ssd300-vgg16 s0",
        "320 ssd512-vgg16 s4",
        "320 ssd512-vgg16 s0",
        "320 ssd300-vgg16 s4",
        "320 ssd300-vgg16 s0",
    ]
    assert len({cell.run for cell in found.cells}) == 8
    assert found.teachers == []


def test_the_spec_of_a_cell_follows_its_labels() -> None:
    found = grid(METHODS + "  method.icod.T: [3]\n  schedule.optimizer.lr: [1e-3]\nseeds: 2\n")
    cell = found.cells[3]
    assert (cell.labels, cell.seed) == ({"method": "kd", "method.icod.T": "3", "schedule.optimizer.lr": "1e-3"}, 1)
    assert cell.spec.method[0]["icod"]["T"] == 3
    assert cell.spec.method[0]["icod"]["lambda_kl"] == 0
    assert (cell.spec.training.optimizer.lr, cell.spec.training.batch) == (0.001, 64)
    assert cell.spec.teachers.classifier == found.teachers[0].id


def test_run_ids_are_those_of_the_resolved_specs(tmp_path: Path) -> None:
    found = grid(METHODS + "  overrides.model.bbox_head.x: [1, 2.0]\nseeds: 2\n")
    assert all(cell.run == cell.spec.id for cell in found.cells)
    teacher = found.teachers[0]
    atomic_write_json(RunFolder(tmp_path / teacher.id).spec, teacher.to_json())
    given = {
        "dataset": "coco2017",
        "student": "ssd300-vgg16",
        "schedule": "ssd",
        "method": [{"icod": {"lambda_kl": 0}}],
        "teachers": {"classifier": teacher.id},
        "overrides": {"model.bbox_head.x": 2},
        "seed": 1,
    }
    assert found.cells[-1].spec == resolve_spec(given, where="x", runs=tmp_path, data=NOWHERE)


def test_exclude_removes_cells() -> None:
    found = grid(HEAD + "axes:\n  input: [300, 320]\n  schedule: [ssd, 1x]\nexclude: [{input: 320, schedule: 1x}]\n")
    assert labels(found) == ["300 ssd s0", "300 1x s0", "320 ssd s0"]
    fewer = grid(HEAD + "axes:\n  input: [300, 320]\n  schedule: [ssd, 1x]\nexclude: [{input: 320}, {schedule: 1x}]\n")
    assert labels(fewer) == ["300 ssd s0"]


def test_include_adds_cells_last_and_ranges_over_the_other_axes() -> None:
    text = HEAD + "axes:\n  input: [300, 320]\n  schedule: [ssd, 1x]\nexclude: [{schedule: 1x}]\n"
    found = grid(text + "include: [{input: 400}, {input: 500, schedule: ssd}, {input: 320, schedule: 1x}]\n")
    assert labels(found) == ["300 ssd s0", "320 ssd s0", "400 ssd s0", "400 1x s0", "500 ssd s0", "320 1x s0"]


def test_a_parameter_is_ignored_by_the_baseline() -> None:
    found = grid(METHODS + "  method.icod.T: [1, 2, 3]\n")
    assert labels(found)[:3] == ["baseline 1 s0", "baseline 2 s0", "baseline 3 s0"]
    runs = [cell.run for cell in found.cells]
    assert len(set(runs[:3])) == 1
    assert len(set(runs)) == 4
    assert [spec.id for spec in found.teachers] == [found.cells[-1].spec.teachers.classifier]


def test_parameters_reach_every_spelling_of_a_method() -> None:
    found = grid(TAUGHT + "  method: {a: [icod], b: [{icod: }], c: [{icod: {T: 1}}]}\n  method.icod.T: [5]\n")
    assert len({cell.run for cell in found.cells}) == 1
    assert found.cells[0].spec.method[0]["icod"]["T"] == 5


def test_a_bundle_sets_several_keys() -> None:
    text = """\
question: Which student?
base: {dataset: coco2017, method: [{icod: {}}]}
teachers: {classifier: {network: resnet50}}
axes:
  model:
    ssd300: {student: ssd300-vgg16, schedule: ssd, teacher.classifier.schedule: coco-ssd}
    qr50: {student: faster-rcnn-qr50, schedule: 1x, teacher.classifier.schedule: coco-general}
  schedule.iterations: [10000, 20000]
"""
    found = grid(text)
    assert labels(found) == ["ssd300 10000 s0", "ssd300 20000 s0", "qr50 10000 s0", "qr50 20000 s0"]
    facts = [(c.spec.name, c.spec.schedule.name, c.spec.training.iterations) for c in found.cells]
    assert facts[0] == ("ssd300-vgg16-icod", "ssd", 10000)
    assert facts[3] == ("faster-rcnn-qr50-icod", "1x", 20000)
    assert [spec.schedule.name for spec in found.teachers] == ["coco-ssd", "coco-general"]
    assert [c.spec.teachers.classifier for c in found.cells] == [
        found.teachers[0].id, found.teachers[0].id, found.teachers[1].id, found.teachers[1].id,
    ]  # fmt: skip


def test_teacher_axes_change_the_teacher_and_not_the_baseline() -> None:
    text = METHODS + "  teacher.classifier.network: [resnet18, resnet50]\n  teacher.classifier.input: [56, 112]\n"
    found = grid(text)
    assert len(found.cells) == 8
    assert [(spec.network, spec.input) for spec in found.teachers] == [
        ("resnet18", 56),
        ("resnet18", 112),
        ("resnet50", 56),
        ("resnet50", 112),
    ]
    assert len({cell.run for cell in found.cells if cell.labels["method"] == "baseline"}) == 1
    assert len({cell.run for cell in found.cells}) == 5


def test_an_ensemble_of_described_and_finished_classifiers(tmp_path: Path) -> None:
    spec = grid(METHODS).teachers[0].model_copy(update={"seed": 7})
    finished = RunFolder(tmp_path / spec.id)
    atomic_write_json(finished.spec, spec.to_json())
    finished.write_status("done")
    block = "{network: resnet50, schedule: coco-ssd}"
    text = METHODS.replace(block, f"[{block}, {finished.id}], classifier_weights: [0.25, 0.75]")
    found = grid(text, tmp_path)
    (described,) = found.teachers
    assert found.cells[1].spec.teachers.classifier == [described.id, finished.id]
    assert found.cells[1].spec.teachers.weights() == [0.25, 0.75]
    assert found.cells[0].spec.teachers.classifiers == ()
    axis = text + "  teacher.classifier.input: [56]\n"
    assert "cannot change the members of an ensemble; write it into their blocks" in refused(axis, tmp_path)[0]
    finished.status.unlink()
    assert "give a finished classifier" in refused(text, tmp_path)[0]


def test_a_teacher_has_the_data_of_the_cell_and_seed_0_by_default() -> None:
    found = grid(METHODS + "seeds: [5]\n")
    assert (found.teachers[0].dataset.name, found.teachers[0].seed) == ("coco2017", 0)
    other = grid(METHODS.replace("network: resnet50", "network: resnet50, seed: 3"))
    assert other.teachers[0].seed == 3
    assert other.teachers[0].id == found.teachers[0].id.removesuffix("s0") + "s3"


def test_an_unused_teacher_is_not_trained() -> None:
    assert grid(TAUGHT + "  input: [300]\n").teachers == []


def test_a_finished_run_as_teacher(tmp_path: Path) -> None:
    teacher = grid(METHODS).teachers[0]
    folder = RunFolder(tmp_path / teacher.id)
    text = METHODS.replace("{network: resnet50, schedule: coco-ssd}", teacher.id)
    (line,) = refused(text, tmp_path)
    assert line.startswith(f"x.yaml: cell method=kd: unknown run in {tmp_path}/ '{teacher.id}'")
    atomic_write_json(folder.spec, teacher.to_json())
    (line,) = refused(text, tmp_path)
    assert f"run {teacher.id} is of kind classifier and waiting; give a finished classifier" in line
    folder.write_status("done")
    found = grid(text, tmp_path)
    assert found.cells[-1].spec.teachers.classifier == teacher.id
    assert found.teachers == []


def test_an_axis_of_first_weights_brings_the_teacher_that_it_needs() -> None:
    """Two cells inherit from the teacher, which is in their ids; the others do not need it, and no method does."""
    text = HEAD + (
        "axes: {init: [none, teacher, 'package:efficientnet-lite0+teacher'], teacher.detector.schedule: [1x, 2x]}\n"
        "teachers: {detector: {student: retinanet-r18}}"
    )
    found = grid(text)
    by_init: dict[str, set[str | None]] = {}
    for cell in found.cells:
        by_init.setdefault(cell.spec.init, set()).add(cell.spec.teachers.detector)
    assert by_init["none"] == {None}
    assert by_init["teacher"] == by_init["package:efficientnet-lite0+teacher"]
    assert by_init["teacher"] == {spec.id for spec in found.teachers}
    assert len(by_init["teacher"]) == 2


def test_a_sweep_of_classifiers() -> None:
    text = "question: q\nbase: {dataset: coco2017, schedule: coco-general}\naxes: {network: [resnet18, resnet50]}\n"
    assert [cell.spec.name for cell in grid(text).cells] == ["resnet18-classifier", "resnet50-classifier"]


def test_all_invalid_cells_are_reported_each_error_once() -> None:
    text = (
        METHODS + "  student: [ssd300-vgg16, ssd301]\n"
        "  schedule.iterations: [10000, 0]\n  method.icod.T: [2, -1, 'two']\n  input: [300, 320]\n"
    )
    lines = refused(text)
    assert len(lines) == 4
    assert lines[0].startswith(
        "x.yaml: cell method=baseline student=ssd300-vgg16 schedule.iterations=0 method.icod.T=2 input=300 (and 7 more)"
        ": schedule.values.iterations: Input should be greater than 0 (given 0)"
    )
    assert lines[1].startswith("x.yaml: cell method=baseline student=ssd301 schedule.iterations=10000 method.icod.T=2")
    assert "unknown student 'ssd301'; did you mean 'ssd300-vgg16'?" in lines[1]
    assert "(and 7 more): method icod: T: wanted a number above 0, given -1; see `c2d methods icod`" in lines[2]
    assert "(and 7 more): method icod: T: wanted a number above 0, given 'two'" in lines[3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("question: q\nbase: {dataset: coco2017}", "cell x: a spec needs dataset, schedule and a student"),
        (
            HEAD + "axes: {dataset: [coco2016]}",
            "cell dataset=coco2016: unknown data set 'coco2016'; did you mean 'coco",
        ),
        (
            HEAD + "axes: {schedule: [ssdd]}",
            "cell schedule=ssdd: unknown schedule of a detector 'ssdd'; did you mean 's",
        ),
        (HEAD + "axes: {init: [weights.pth]}", "init 'weights.pth' names no weights and no file that exists"),
        (HEAD + "axes: {network: [resnet18]}", "unknown schedule of a classifier 'ssd'"),
        (
            HEAD + "axes: {method: {kd: [icod]}}",
            "needs a classifier teacher; add teachers: {classifier: RUN} (train one first with `c2d train`), "
            "in a sweep also {classifier: {network: ...",
        ),
        (
            METHODS.replace("coco-ssd", "coco-sd"),
            "x.yaml: cell method=kd: teachers.classifier: unknown schedule of a classifier 'coco-sd'; did you mean",
        ),
        (METHODS.replace(", schedule: coco-ssd", ""), "cell method=kd: teachers.classifier: a spec needs dataset"),
    ],
)
def test_errors_of_a_cell(text: str, message: str) -> None:
    (line,) = refused(text)
    assert message in line


GRID: dict[str, Any] = {
    "question": "Does order matter?",
    "base": {"dataset": "coco2017", "student": "ssd300-vgg16", "schedule": "ssd", "schedule.batch": 32},
    "teachers": {"classifier": {"network": "resnet50", "schedule": "coco-ssd", "schedule.iterations": 2000}},
    "axes": {
        "method": {"baseline": [], "kd": [{"icod": {"T": 1, "lambda_kl": 0}}], "all": ["icod"]},
        "method.icod.T": [1, 2],
        "schedule.optimizer": {"slow": {"lr": 0.01}, "fast": {"lr": 0.1}},
        "schedule.optimizer.momentum": [0.9],
        "model": {"own": {}, "qr": {"student": "retinanet-qr18", "schedule": "1x"}},
        "overrides.a.b": [1, 2],
    },
    "exclude": [{"method": "all", "method.icod.T": 2}],
    "include": [{"method": "kd", "method.icod.T": 4, "model": "qr"}],
}


def shuffled(value: Any, dice: random.Random) -> Any:
    """The same with the keys of every mapping in another order."""
    if isinstance(value, dict):
        keys = list(value)
        dice.shuffle(keys)
        return {key: shuffled(value[key], dice) for key in keys}
    return [shuffled(item, dice) for item in value] if isinstance(value, list) else value


def runs_by_labels(found: Grid) -> set[tuple[frozenset[tuple[str, str]], str]]:
    return {(frozenset(cell.labels.items()), cell.run) for cell in found.cells}


def unsorted(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False)


@settings(max_examples=15, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_keys_changes_no_run(dice: random.Random) -> None:
    before, after = grid(unsorted(GRID)), grid(unsorted(shuffled(GRID, dice)))
    assert runs_by_labels(before) == runs_by_labels(after)
    assert {spec.id for spec in before.teachers} == {spec.id for spec in after.teachers}


LABEL = st.from_regex(r"[a-zA-Z][a-zA-Z0-9 .=+-]{0,8}[a-z]{3}", fullmatch=True)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(LABEL, min_size=3, max_size=3, unique=True), st.lists(LABEL, min_size=2, max_size=2, unique=True), LABEL
)
def test_names_of_axes_and_labels_do_not_change_the_run_id(methods: list[str], models: list[str], axis: str) -> None:
    text = json.dumps(GRID)
    for old, new in zip(("baseline", "kd", "all"), methods, strict=True):
        text = text.replace(f'"{old}"', f'"@{new}"')
    for old, new in zip(("own", "qr"), models, strict=True):
        text = text.replace(f'"{old}"', f'"@{new}"')
    renamed = json.loads(text.replace('"model"', json.dumps(f"@{axis}".replace(".", ""))))
    assert [cell.run for cell in grid(unsorted(renamed)).cells] == [cell.run for cell in grid(unsorted(GRID)).cells]


TEN = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"


@pytest.mark.parametrize("last", ["seeds: 10", f"  overrides.x: {TEN}"])
def test_ten_thousand_cells_are_quick(last: str) -> None:
    """Cells are read and resolved with ids."""
    text = METHODS.replace("{baseline: [], kd: [{icod: {lambda_kl: 0}}]}", "{kd: [{icod: {}}]}")
    text += f"  method.icod.T: {TEN}\n  method.icod.lambda_kc: {TEN}\n  schedule.optimizer.lr: {TEN}\n{last}\n"
    found, cost = processor_cost(lambda: grid(text))
    assert len({cell.run for cell in found.cells}) == 10_000
    assert cost < 150
