"""The teachers of a spec: one classifier or an ensemble, and the ids of runs that have no ensemble."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, atomic_write_json
from c2d.specs.names import look_up_names, names_in
from c2d.specs.resolve_spec import SpecResolver, resolve_spec
from c2d.specs.spec import RunSpec
from c2d.specs.teachers import Teachers, needed_runs

NOWHERE = Path("nowhere")  # no data cards of one's own
STUDENT: dict[str, Any] = {
    "dataset": "coco2017", "student": "ssd300-vgg16", "schedule": "ssd", "method": ["icod"],
}  # fmt: skip
A, B, C = (f"{name}-classifier-0123456789ab-s0" for name in "abc")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A store with the three classifiers."""
    for run in (A, B, C):
        atomic_write_json(RunFolder(tmp_path / run).spec, {"kind": "classifier"})
    return tmp_path


def resolve(runs: Path, **teachers: Any) -> RunSpec:
    return resolve_spec({**STUDENT, "teachers": teachers}, where="test", runs=runs, data=NOWHERE)


def refused(runs: Path, **teachers: Any) -> str:
    with pytest.raises(InputError) as caught:
        resolve(runs, **teachers)
    return str(caught.value)


def test_one_classifier_is_written_as_before(runs: Path) -> None:
    spec = resolve(runs, classifier=A)
    assert spec.to_json()["teachers"] == {"classifier": A, "detector": None}
    assert resolve(runs, classifier=[A]).id == resolve(runs, classifier=A, classifier_weights=None).id == spec.id
    assert needed_runs(spec.teachers) == {"classifier": A}


def test_an_ensemble_has_members_and_weights(runs: Path) -> None:
    spec = resolve(runs, classifier=[A, B, C])
    assert spec.to_json()["teachers"] == {"classifier": [A, B, C], "detector": None}
    assert spec.teachers.weights() == [1 / 3] * 3
    assert needed_runs(spec.teachers) == {"classifier": A, "classifier-2": B, "classifier-3": C}
    weighed = resolve(runs, classifier=[A, B], classifier_weights=[0.75, 0.25])
    assert weighed.teachers.weights() == [0.75, 0.25]
    assert RunSpec.model_validate(weighed.to_json()) == weighed
    assert resolve(runs, classifier=[A, B], classifier_weights=[0.5, 0.5]).id == resolve(runs, classifier=[A, B]).id
    assert len({weighed.id, resolve(runs, classifier=[A, B]).id, resolve(runs, classifier=[B, A]).id}) == 3


def test_mistakes_of_an_ensemble(runs: Path) -> None:
    assert "two or more different classifiers" in refused(runs, classifier=[A, A])
    assert "give 2 positive numbers with the sum 1" in refused(runs, classifier=[A, B], classifier_weights=[0.5, 0.6])
    assert "give 2 positive numbers with the sum 1" in refused(runs, classifier=[A, B], classifier_weights=[1, 0])
    assert "give a list of classifiers" in refused(runs, classifier=A, classifier_weights=[1.0])
    assert "an ensemble is a list of runs" in refused(runs, classifier=[A, 3])
    assert "unknown kind of teacher 'clasifier'" in refused(runs, clasifier=[A])
    assert "did you mean 'classifier_weights'" in refused(runs, classifier_weigths=[1, 2])
    assert "classifier_weights" in refused(runs, classifier=[A, B], classifier_weights=["0.5", 0.5])
    given = {**STUDENT, "method": ["fgd"], "teachers": {"detector": [A, B]}}
    with pytest.raises(InputError, match="only classifiers can be an ensemble"):
        resolve_spec(given, where="test", runs=runs, data=NOWHERE)
    assert Teachers(detector=A).classifiers == ()


def test_described_members_are_all_trained_first() -> None:
    blocks = [{"network": name, "schedule": "coco-ssd", "input": 56} for name in ("resnet18", "resnet34")]
    given = {**STUDENT, "teachers": {"classifier": blocks}}
    resolver = SpecResolver(look_up_names(names_in([given]), NOWHERE, NOWHERE))
    spec = resolver.resolve(given)
    assert [teacher.network for teacher in resolver.teachers.values()] == ["resnet18", "resnet34"]
    assert spec.teachers.classifier == list(resolver.teachers)
