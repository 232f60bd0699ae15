"""Fairness: rows that are compared share their protocol, or an axis of the rows says why not, or nothing is made."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.loading.load import read_study
from analysis.loading.schema import Study
from analysis.report.report_spec import parse
from analysis.tables import protocol_check
from analysis.tables.build_table import build_table
from analysis.tables.table import Table
from benchmarks.suite.synthetic_store import make_store
from c2d.core.errors import InputError
from sweeps.definition.settable_keys import CELL_KEYS

METHODS = {"method": ["baseline", "kd"]}


def study(tmp_path: Path, axes: dict[str, list[str]] = METHODS, definition: str = "", **kwargs: Any) -> Study:
    record = make_store(tmp_path / "runs", axes, **kwargs)
    record["definition"] = definition
    (tmp_path / "runs" / "sweeps" / "made.json").write_text(json.dumps(record))
    return read_study(tmp_path / "runs", ("made",), tmp_path / "cache")


def table(of: Study, rows: dict[str, list[str]], allow_mixed: bool = False, **keys: Any) -> Table:
    given = {"kind": "table", "rows": rows, "baseline": {"method": "baseline"}, "columns": ["AP"], **keys}
    return build_table(of, parse(given), "made", "t", allow_mixed)


def changed(of: Study, change: Callable[[pd.DataFrame], None]) -> Study:
    frame = of.frame.copy()
    change(frame)
    return dataclasses.replace(of, frame=frame)


def put(column: str, value: Any, **where: Any) -> Callable[[pd.DataFrame], None]:
    """Set one column of the rows with that method (and seed)."""

    def change(frame: pd.DataFrame) -> None:
        chosen = frame["axis.method"] == where["method"]
        if "seed" in where:
            chosen &= frame["seed"] == where["seed"]
        frame.loc[chosen, column] = value

    return change


def told(of: Table, row: int) -> list[str]:
    return [of.notes[mark] for mark in of.rows[row].cells["AP"].notes]


def longer(labels: dict[str, str]) -> dict[str, Any]:
    return {"iterations": 40} if labels["method"] == "kd" else {}


def test_a_longer_schedule_of_the_method_alone_is_refused(tmp_path: Path) -> None:
    of = study(tmp_path, schedule=longer)
    with pytest.raises(InputError) as caught:
        table(of, {"method": []})
    assert "method=kd: schedule.iterations is 40, but 20 in method=baseline" in str(caught.value)
    assert "--allow-mixed" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_it_is_told_where_it_is_allowed(tmp_path: Path) -> None:
    made = table(study(tmp_path, schedule=longer), {"method": []}, allow_mixed=True)
    sentence = "schedule.iterations is 40, but 20 in baseline, which it is compared with"
    assert made.ledger.mixed == (f"kd: {sentence}",)
    assert (sentence in told(made, 0), sentence in told(made, 1)) == (False, True)
    assert made.ledger.differs["schedule.iterations"] == {"method=baseline": "20", "method=kd": "40"}


@pytest.mark.parametrize("axis", ["schedule.iterations", "schedule"])
def test_an_axis_that_sets_it_is_the_question(axis: str, tmp_path: Path) -> None:
    axes = {**METHODS, axis: ["20", "40"]}
    of = study(tmp_path, axes, schedule=lambda labels: {"iterations": int(labels[axis])})
    assert table(of, {"method": [], axis: []}, baseline={axis: "20"}).ledger.mixed == ()
    assert table(of, {"method": [], axis: []}).ledger.mixed == ()


def test_an_axis_explains_only_what_it_sets(tmp_path: Path) -> None:
    axes = {**METHODS, "schedule.batch": ["8", "16"]}
    of = study(tmp_path, axes, schedule=lambda labels: {"iterations": 2 * int(labels["schedule.batch"])})
    with pytest.raises(InputError, match=r"schedule\.iterations is 32, but 16"):
        table(of, {"method": [], "schedule.batch": []}, baseline={"schedule.batch": "8"})


def test_an_axis_explains_only_rows_that_differ_on_it(tmp_path: Path) -> None:
    """Both rows have iterations=20 for a label, so another value in one of them is a fault."""
    axes = {**METHODS, "schedule.iterations": ["20", "30"]}
    of = study(tmp_path, axes, schedule=longer)
    with pytest.raises(InputError, match=r"schedule\.iterations is 40, but 20"):
        table(of, {"method": [], "schedule.iterations": []})


def test_the_run_that_a_backbone_starts_from_is_in_the_ledger(tmp_path: Path) -> None:
    of = study(tmp_path)
    for method, run in (("baseline", "short"), ("kd", "long")):
        of = changed(of, put("init", "backbone", method=method))
        of = changed(of, put("backbone", run, method=method))
        of = changed(of, put("backbone_top1", 0.6633, method=method))
    with pytest.raises(InputError, match=r"backbone is long \(top-1 66\.3 %\), but short"):
        table(of, {"method": []})
    ledger = table(changed(of, put("backbone", "short", method="kd")), {"method": []}).ledger
    assert ledger.same["backbone"] == "short (top-1 66.3 %)"
    assert ledger.mixed == ()


def test_a_bundle_explains_what_its_labels_set(tmp_path: Path) -> None:
    """As in icod-students: an axis `model` sets student and schedule; rows of two models may be compared."""
    definition = "axes:\n  model:\n    a: {student: a, schedule.iterations: 20}\n    b: {schedule.iterations: 40}\n"
    axes = {"model": ["a", "b"], **METHODS}
    keys: dict[str, Any] = {"schedule": lambda labels: {"iterations": 20 if labels["model"] == "a" else 40}}
    rows: dict[str, list[str]] = {"model": [], "method": []}
    of = study(tmp_path / "with", axes, definition, **keys)
    assert table(of, rows).ledger.mixed == ()
    assert table(of, rows, baseline={"model": "a"}).ledger.mixed == ()
    without = study(tmp_path / "without", axes, "not: [a, definition\n", **keys)
    assert table(without, rows).ledger.mixed == ()
    with pytest.raises(InputError, match=r"schedule\.iterations is 40, but 20"):
        table(without, rows, baseline={"model": "a"})


def test_a_label_that_sets_more_than_the_method_is_told(tmp_path: Path) -> None:
    """Accepted, for the label says so, but a reader sees a gain of twice the iterations."""
    definition = "axes:\n  recipe:\n    plain: {method: []}\n    kd2x: {method: [icod], schedule: 2x}\n"
    of = study(tmp_path, {"recipe": ["plain", "kd2x"]}, definition,
               schedule=lambda labels: {"iterations": 40 if labels["recipe"] == "kd2x" else 20})  # fmt: skip
    made = table(of, {"recipe": []}, baseline={"recipe": "plain"})
    sentence = "recipe also sets the protocol: schedule.iterations is 40, but 20 in its baseline"
    assert (sentence in told(made, 0), sentence in told(made, 1)) == (False, True)
    assert made.ledger.mixed == ()


def test_an_axis_that_is_the_fact_needs_no_note(tmp_path: Path) -> None:
    of = study(tmp_path, {"schedule.iterations": ["20", "40"]},
               schedule=lambda labels: {"iterations": int(labels["schedule.iterations"])})  # fmt: skip
    made = table(of, {"schedule.iterations": []}, baseline={"schedule.iterations": "20"})
    assert not any("also sets" in sentence for sentence in made.notes.values())


@pytest.mark.parametrize(
    ("axis", "values"),
    [
        ("schedule", "{short: {name: smoke}, long: {name: smoke, values: {iterations: 40}}}"),
        ("schedule.warmup", "{short: {iterations: 0}, long: {iterations: 40}}"),
    ],
)
def test_an_axis_of_mappings_is_no_bundle_where_its_name_is_a_key(axis: str, values: str, tmp_path: Path) -> None:
    """`schedule: {long: {name: ..., values: ...}}` sets the schedule, not keys called name and values."""

    def schedule(labels: dict[str, str]) -> dict[str, Any]:
        many = 40 if labels[axis] == "long" else 0
        return {"warmup": {"iterations": many, "factor": 0.001}}

    of = study(tmp_path, {axis: ["short", "long"]}, f"axes:\n  {axis}: {values}\n", schedule=schedule)
    assert table(of, {axis: []}, baseline={}).ledger.mixed == ()
    assert "schedule.warmup.iterations" in table(of, {axis: []}, baseline={axis: "short"}).ledger.differs


def test_what_is_a_key_of_a_sweep_is_what_sweeps_say() -> None:
    assert protocol_check._CELL_KEYS == CELL_KEYS


def test_without_a_baseline_rows_of_one_student_are_compared(tmp_path: Path) -> None:
    of = study(tmp_path, schedule=longer)
    with pytest.raises(InputError, match=r"schedule\.iterations"):
        table(of, {"method": []}, baseline={})
    other = changed(of, lambda frame: frame.loc.__setitem__((frame["axis.method"] == "kd", "student"), "other"))
    assert table(other, {"method": []}, baseline={}).ledger.mixed == ()


@pytest.mark.parametrize(
    ("column", "value", "fact"),
    [
        ("dataset_digest", "f" * 64, "dataset digest is ffffffffffff, but dddddddddddd"),
        ("evaluation_split", "test", "evaluation split is test, but val"),
        ("student_digest", "f" * 64, "student digest is"),
        ("init", "torchvision:x", "init is torchvision:x, but none"),
        ("input", 48.0, "input is 48, but none"),
        ("overrides_json", '{"model.x":2.0}', r"overrides\.model\.x is 2, but none"),
        ("engine", "pycocotools 2", "engine is pycocotools, but hotcoco"),
    ],
)
def test_every_part_of_the_protocol_counts(column: str, value: Any, fact: str, tmp_path: Path) -> None:
    of = changed(study(tmp_path), put(column, value, method="kd"))
    with pytest.raises(InputError, match=f"method=kd: {fact}"):
        table(of, {"method": []})


def test_a_name_of_timm_does_not_stand_for_one_file(tmp_path: Path) -> None:
    of = study(tmp_path)
    of.frame["init"], of.frame["init_sha256"] = "timm:resnet18.a1_in1k", "a" * 64
    assert table(of, {"method": []}).ledger.same["init sha256"] == "a" * 12
    other = changed(of, put("init_sha256", "b" * 64, method="kd"))
    with pytest.raises(InputError, match=r"method=kd: init sha256 is bbbbbbbbbbbb, but aaaaaaaaaaaa"):
        table(other, {"method": []})
    other.frame["init"] = "torchvision:resnet18.IMAGENET1K_V1"  # its name has the digest of the file
    assert "init sha256" not in table(other, {"method": []}).ledger.differs


def test_what_a_student_inherited_is_in_the_ledger(tmp_path: Path) -> None:
    of = changed(study(tmp_path), put("init", "teacher", method="kd"))
    of = changed(changed(of, put("inherited", 12.0, method="kd")), put("inherited_of", 16.0, method="kd"))
    made = table(of, {"method": []}, allow_mixed=True)
    assert "init is teacher, but none" in " ".join(told(made, 1))
    assert made.ledger.differs["inherited from the teacher"] == {
        "method=baseline": "none", "method=kd": "12 of 16 keys of neck and heads",
    }  # fmt: skip


def test_the_temperature_of_a_calibrated_teacher_is_in_the_ledger(tmp_path: Path) -> None:
    of = changed(study(tmp_path), put("teacher_temperature", 1.5, method="kd"))
    assert table(of, {"method": []}).ledger.differs["teacher temperature"] == {
        "method=baseline": "none", "method=kd": "1.5",
    }  # fmt: skip


def test_how_often_a_run_validates_is_no_protocol(tmp_path: Path) -> None:
    of = study(tmp_path, schedule=lambda labels: {"val_interval": 5} if labels["method"] == "kd" else {})
    assert table(of, {"method": []}).ledger.differs["schedule.val_interval"] == {
        "method=baseline": "none", "method=kd": "5",
    }  # fmt: skip


def test_seeds_of_one_row_share_the_protocol(tmp_path: Path) -> None:
    of = changed(study(tmp_path), put("init", "torchvision:x", method="kd", seed=1))
    with pytest.raises(InputError, match="method=kd: its seeds differ in init: none and torchvision:x"):
        table(of, {"method": []})
    of = changed(study(tmp_path), put("method_json", '[{"icod":{"T":3,"version":1}}]', method="kd", seed=1))
    with pytest.raises(InputError, match="parameters or the version of their method"):
        table(of, {"method": []})


def test_unfinished_runs_are_under_no_protocol(tmp_path: Path) -> None:
    of = study(tmp_path, schedule=longer, state=lambda at, s: "failed" if at["method"] == "kd" else "done")
    made = table(of, {"method": []})
    assert made.ledger.mixed == ()
    assert made.ledger.same["schedule.iterations"] == "20"


def test_software_and_machines_are_told_and_never_refused(tmp_path: Path) -> None:
    of = changed(study(tmp_path), put("torch", "2.12.0", method="kd", seed=0))
    of = changed(of, put("code", "b" * 40 + "+", method="kd"))
    made = table(of, {"method": []})
    assert "seeds ran with torch 2.12.0 and 2.15.0" in told(made, 1)
    assert (
        "ran with torch 2.12.0 and 2.15.0, code bbbbbbbbbbbb+; its baseline with torch 2.15.0, code aaaaaaaaaaaa"
        in told(made, 1)
    )
    assert not any("torch" in sentence for sentence in told(made, 0))
    assert made.ledger.differs["torch"] == {"method=baseline": "2.15.0", "method=kd": "2.12.0 and 2.15.0"}
    assert made.ledger.mixed == ()


def test_the_version_of_an_engine_is_software(tmp_path: Path) -> None:
    of = changed(study(tmp_path), put("engine", "hotcoco 1.3.1", method="kd", seed=1))
    made = table(of, {"method": []})
    assert made.ledger.mixed == ()
    assert "seeds ran with engine version 1.3.0 and 1.3.1" in told(made, 1)
    assert made.ledger.same["engine"] == "hotcoco"


def test_versions_of_one_distiller_that_differ_between_rows_are_told(tmp_path: Path) -> None:
    """Three methods under one baseline: icod 1, icod 2 and another distiller, which shares no version with them."""
    of = study(tmp_path, {"method": ["baseline", "kd", "c2d", "fgfi"]})
    of = changed(of, put("method_json", '[{"icod":{"version":2}}]', method="c2d"))
    of = changed(of, put("method_json", '[{"fgfi":{"version":3}}]', method="fgfi"))
    made = table(of, {"method": []})
    sentence = "icod of version 2, but 1 in method=kd"
    assert [sentence in told(made, row) for row in range(4)] == [False, False, True, False]
    assert not any("fgfi of version" in one for one in made.notes.values())


def test_every_teacher_is_told_with_its_own_number(tmp_path: Path) -> None:
    of = changed(study(tmp_path), put("teacher.detector", "det-s0", method="kd"))
    of = changed(of, put("teacher_AP", 0.312, method="kd"))
    found = table(of, {"method": []}).ledger.differs["teacher"]["method=kd"]
    assert found == "resnet18-classifier-0123456789ab-s0 (top-1 95.0 %) + det-s0 (AP 31.2 %)"


def test_the_ledger_lists_what_rows_have_in_common_and_what_not(tmp_path: Path) -> None:
    of = study(tmp_path, {"method": ["baseline", "kd", "new"]},
               state=lambda at, s: "new" if at["method"] == "new" else "done")  # fmt: skip
    made = table(of, {"method": []}).ledger
    expected = {"dataset": "scenes", "student": "tiny", "schedule.optimizer.lr": "0.01", "seeds": "0, 1, 2",
            "schedule.precision": "fp32", "mmdet": "3.5.1", "device": "made-up CPU"}  # fmt: skip
    assert expected.items() <= made.same.items()
    assert made.differs == {
        "method version": {"method=baseline": "none", "method=kd": "icod 1", "method=new": ""},
        "teacher": {
            "method=baseline": "none",
            "method=kd": "resnet18-classifier-0123456789ab-s0 (top-1 95.0 %)",
            "method=new": "",
        },
    }
