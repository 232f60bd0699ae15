"""The teachers of a run: run ids, and the weights of an ensemble of classifiers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import SerializerFunctionWrapHandler, model_serializer, model_validator

from c2d.core.errors import InputError
from c2d.core.yaml.strict import Strict

WEIGHTS = "classifier_weights"
BACKBONE = "backbone"
KINDS_BY_KEY = {
    "classifier": "classifier",
    "detector": "detector",
    "impressions": "impressions",
    BACKBONE: "classifier",
}
"""{key of `teachers`: the kind of run that it names}."""
TEACHER_KEYS = tuple(KINDS_BY_KEY)
SUM_TOLERANCE = 1e-6


class Teachers(Strict):
    """Run ids of the teachers; null for a kind that neither a method nor `init` needs.

    `impressions` is no teacher but the run whose images are trained on, made from a detector. Neither is `backbone`: it
    is the classifier run whose weights a student's backbone starts from, with init: backbone.

    Attributes:
        classifier: a run id, or those of an ensemble.
        classifier_weights: of the members of an ensemble, in their order, with the sum 1; null: equal ones.
    """

    classifier: str | list[str] | None = None
    detector: str | None = None
    impressions: str | None = None
    backbone: str | None = None
    classifier_weights: list[float] | None = None

    @model_validator(mode="after")
    def _is_an_ensemble(self) -> Teachers:
        members, weights = self.classifiers, self.classifier_weights
        if isinstance(self.classifier, list) and (len(members) < 2 or len(set(members)) < len(members)):
            raise ValueError(f"an ensemble has two or more different classifiers, given {list(members)}")
        if weights is None:
            return self
        if not isinstance(self.classifier, list):
            raise ValueError(f"{WEIGHTS} are of an ensemble; give a list of classifiers, or leave them out")
        if len(weights) != len(members) or min(weights) <= 0 or abs(math.fsum(weights) - 1) > SUM_TOLERANCE:
            raise ValueError(f"{WEIGHTS} {weights}: give {len(members)} positive numbers with the sum 1")
        return self

    @model_serializer(mode="wrap")
    def _leave_added_keys_out(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # These keys are younger than runs which exist; without them their ids stay.
        values: dict[str, Any] = write(self)
        return {key: value for key, value in values.items() if key not in (WEIGHTS, BACKBONE) or value is not None}

    @property
    def classifiers(self) -> tuple[str, ...]:
        """Run ids of the classifiers: none, one, or the members of an ensemble."""
        given = self.classifier
        return tuple(given) if isinstance(given, list) else (given,) if given else ()

    def weights(self) -> list[float]:
        """Return the weights of the classifiers, with the sum 1."""
        return self.classifier_weights or [1 / len(self.classifiers) for _ in self.classifiers]


def needed_runs(teachers: Teachers) -> dict[str, str]:
    """Return {role: run id} of the teachers of a run, of the synthesis whose images it uses, and of its first weights.

    A role is a key of `teachers`; further members of an ensemble are `classifier-2`, `classifier-3`, ...
    """
    members = {role_of_member(place): run for place, run in enumerate(teachers.classifiers)}
    others = {"detector": teachers.detector, "impressions": teachers.impressions, BACKBONE: teachers.backbone}
    return members | {kind: run for kind, run in others.items() if run}


def role_of_member(place: int) -> str:
    """Return the role of a member of an ensemble, places from 0."""
    return "classifier" if place == 0 else f"classifier-{place + 1}"


def key_of_role(role: str) -> str:
    """Return the key of `teachers` that names the run in a role, see `needed_runs`."""
    return role.partition("-")[0]


def kind_of_role(role: str) -> str:
    """Return the kind of run in a role, see `needed_runs`; the role itself if there is no such role."""
    return KINDS_BY_KEY.get(key_of_role(role), role)


def given_teachers(given: Any) -> list[Any]:
    """Return every teacher in the `teachers` of a spec that is not resolved yet: names of runs, or values of specs."""
    if not isinstance(given, Mapping):
        return []
    found = [teacher for key, teacher in given.items() if key != WEIGHTS]
    return [one for teacher in found for one in (teacher if isinstance(teacher, list) else [teacher]) if one]


def are_equal(weights: Any, members: Any) -> bool:
    """Return whether given weights are those of an ensemble without any: the same question, so the same run.

    Args:
        weights: of a spec that is not resolved yet.
        members: run ids.
    """
    numbers = isinstance(weights, list) and all(type(one) in (int, float) for one in weights)
    if not numbers or not isinstance(members, list) or len(weights) != len(members):
        return False
    return all(abs(one - 1 / len(members)) < SUM_TOLERANCE for one in weights)


def check_ensemble(kind: str, given: Any) -> list[Any]:
    """Check a list in the place of a teacher.

    Args:
        kind: of the teachers.
        given: the list.

    Returns:
        Its members.

    Raises:
        InputError: another kind than classifiers, or no teacher in a place.
    """
    if kind != "classifier":
        raise InputError(f"teachers.{kind} is a list; only classifiers can be an ensemble: give one run")
    if not given or not all(isinstance(one, dict) or (isinstance(one, str) and one) for one in given):
        raise InputError(f"teachers.classifier {given!r}: an ensemble is a list of runs, e.g. [RUN_A, RUN_B]")
    return list(given)
