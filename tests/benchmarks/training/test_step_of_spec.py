"""The table of steps of specs on given numbers; test_runs_with_detector_teachers.py measures a real step."""

from __future__ import annotations

from benchmarks.training.step_of_spec import markdown

RECORD = {
    "student": "s", "methods": "icod+fkd", "batch": 4, "image": "96x96", "positives": 7.0,
    "plain_ms": [10.0, 20.0, 40.0], "distilled_ms": [20.0, 30.0, 60.0], "teacher_ms": [4.0, 5.0, 9.0],
    "plain_mib": 50.0, "distilled_mib": 75.0,
    "reference": {"icod": {"ours_ms": 2.0, "reference_ms": 99.0}, "fkd": {"ours_ms": 1.0, "reference_ms": 8.0}},
}  # fmt: skip


def test_the_table_takes_medians_and_ratios_pair_by_pair() -> None:
    assert markdown([RECORD]).splitlines()[-1] == (
        "| s | icod+fkd | 4, 96x96 | 7 | 20 | 30 | 1.50 | 0.25 | 1.27 | 1.50 | icod 50x, fkd 8x |"
    )  # (20 - 4) / 10, (30 - 5) / 20, (60 - 9) / 40: the middle one is 1.275, which prints as 1.27


def test_without_a_detector_teacher_or_positives_there_is_a_dash() -> None:
    bare = {key: value for key, value in RECORD.items() if key != "teacher_ms"} | {"positives": None, "reference": {}}
    assert markdown([bare]).splitlines()[-1] == "| s | icod+fkd | 4, 96x96 | – | 20 | 30 | 1.50 | – | – | 1.50 | – |"
    alone = bare | {"reference": {"fkd": {"ours_ms": 1.0, "reference_ms": 8.0}}}
    assert markdown([alone]).splitlines()[-1].endswith("| 8x |")
