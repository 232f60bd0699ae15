"""The table of settable keys against the fields of a spec."""

from __future__ import annotations

from c2d.specs.spec import KINDS, MODEL_KEYS, RunSpec
from sweeps.definition.settable_keys import CELL_KEYS, KEYS, nest_keys, split_teacher_keys


def test_every_field_of_a_spec_is_settable_or_names_its_replacement() -> None:
    assert set(KEYS) - {"seeds"} == set(RunSpec.model_fields) - {"format"}
    assert {name for name, key in KEYS.items() if key.instead} == set(KEYS) - set(CELL_KEYS)


def test_the_model_of_a_teacher_belongs_to_its_kind() -> None:
    for kind in KINDS:
        assert KEYS[MODEL_KEYS[kind]].teachers == (kind,)


def test_teacher_keys_are_split_off() -> None:
    values = {"dataset": "a", "teacher.classifier.schedule.iterations": 5, "teacher.detector.dataset": "b"}
    own, blocks = split_teacher_keys(values)
    assert own == {"dataset": "a"}
    assert blocks == {"classifier": {"schedule.iterations": 5}, "detector": {"dataset": "b"}}


def test_dotted_keys_are_nested_and_the_given_values_stay() -> None:
    schedule = {"name": "ssd", "values": {"optimizer": {"lr": 1}}}
    values = {"schedule.optimizer.lr": 2, "schedule": schedule, "method.icod.T": 3, "method": ["icod", {"fgd": None}]}
    teachers = {"classifier": {"network": "resnet18", "overrides.a": 1}, "detector": "run-id"}
    assert nest_keys({**values, "teacher.classifier.input": 56}, teachers) == {
        "schedule": {"name": "ssd", "values": {"optimizer": {"lr": 2}}},
        "method": [{"icod": {"T": 3}}, {"fgd": None}],
        "teachers": {"classifier": {"network": "resnet18", "overrides": {"a": 1}, "input": 56}, "detector": "run-id"},
    }
    assert schedule == {"name": "ssd", "values": {"optimizer": {"lr": 1}}}
    assert teachers["classifier"] == {"network": "resnet18", "overrides.a": 1}
