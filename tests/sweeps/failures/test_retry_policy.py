"""What may be started again by itself, and how often: the table of classes, budgets and back-off."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2d.core.failure_classes import FAILURE_CLASSES
from sweeps.failures.retry_policy import AUTOMATIC, BACKOFF_S, backoff_s, exhausted

RESET = [name for name, rule in FAILURE_CLASSES.items() if rule.progress_resets]
COUNTED = [name for name in AUTOMATIC if not FAILURE_CLASSES[name].progress_resets]
CODE = [name for name in FAILURE_CLASSES if name not in AUTOMATIC]
deaths = st.lists(
    st.fixed_dictionaries(
        {"class": st.sampled_from([*FAILURE_CLASSES, "?"]), "iteration": st.none() | st.integers(0, 50)}
    ),
    max_size=30,
)


def of(name: str, *iterations: int | None) -> list[dict[str, Any]]:
    return [{"class": name, "iteration": iteration} for iteration in iterations]


def test_every_class_has_advice_and_resource_classes_name_what_is_raised() -> None:
    assert all(rule.suggestion for rule in FAILURE_CLASSES.values())
    assert {name for name, rule in FAILURE_CLASSES.items() if rule.kind == "resource"} == {"host-oom"}
    assert FAILURE_CLASSES["host-oom"].raised_resource == "mem_gb"
    assert set(RESET) == {"preempted", "node-failure", "time-limit"}


@pytest.mark.parametrize("name", RESET)
def test_fifty_jobs_with_progress_are_no_failure(name: str) -> None:
    assert not exhausted(name, of(name, *range(1, 51)))


@pytest.mark.parametrize("name", RESET)
def test_jobs_without_progress_are_not_requeued_for_ever(name: str) -> None:
    allowed = FAILURE_CLASSES[name].max_retries
    assert not exhausted(name, of(name, *[7] * allowed))
    assert exhausted(name, of(name, *[7] * (allowed + 1)))
    assert not exhausted(name, of(name, *[7] * allowed, 8)), "progress forgives what was before"


@pytest.mark.parametrize("name", COUNTED)
def test_other_failures_count_although_there_is_progress(name: str) -> None:
    allowed = FAILURE_CLASSES[name].max_retries
    assert not exhausted(name, of(name, *range(1, allowed + 1)))
    assert exhausted(name, of(name, *range(1, allowed + 2)))


@pytest.mark.parametrize("name", [*CODE, "no such class"])
def test_code_and_unknown_failures_are_never_retried_automatically(name: str) -> None:
    assert exhausted(name, [])
    assert exhausted(name, of(name, 1, 2, 3))


def test_classes_are_counted_apart() -> None:
    mixed = [*of("killed", 1), *of("hang", 1), *of("killed", 1), *of("hang", 1), *of("killed", 1)]
    assert not exhausted("killed", mixed)
    assert exhausted("killed", [*mixed, *of("killed", 1)])


def test_a_missing_iteration_is_none() -> None:
    assert not exhausted("killed", [{"class": "killed"}, {"class": "killed", "iteration": None}])


@given(deaths, st.sampled_from([*FAILURE_CLASSES, "?"]))
def test_a_run_that_fails_at_the_same_iteration_stops(before: list[dict[str, Any]], name: str) -> None:
    found = list(before)
    for _ in range(60):
        found.append({"class": name, "iteration": 50})
        if exhausted(name, found):
            break
    assert exhausted(name, found)
    assert len(found) - len(before) <= max(rule.max_retries for rule in FAILURE_CLASSES.values()) + 2


@given(st.integers(-3, 1000))
def test_back_off_rises_and_is_bounded(count: int) -> None:
    assert BACKOFF_S[0] <= backoff_s(count) <= backoff_s(count + 1) <= BACKOFF_S[-1]
    assert backoff_s(1) == 0
