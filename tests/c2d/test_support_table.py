"""docs/students.md says what the code does: all families and methods are in it, and samples of it are trained again."""

from __future__ import annotations

import pytest

from c2d.configs.student_config import student_names
from c2d.core.errors import InputError
from c2d.detectors.families import DENSE_FAMILIES, QUERY_FAMILIES, ROI_FAMILIES
from c2d.methods import DISTILLERS
from tests.c2d import support_table
from tests.c2d.support_table import BASELINE, STUDENTS, Cell


def rows(heading: str) -> dict[str, dict[str, str]]:
    """{family: {column: text}} of the first table under a heading of the page."""
    part = support_table.PAGE.read_text(encoding="utf-8").split(heading, 1)[1]
    return {row["family"]: row for row in support_table.rows_of(part)}


def test_every_family_and_every_method_is_in_the_page() -> None:
    every = rows("## Every method")
    assert set(rows("# Students")) == set(every) == {*DENSE_FAMILIES, *ROI_FAMILIES, *QUERY_FAMILIES}
    assert {tuple(row)[1:] for row in every.values()} == {tuple(DISTILLERS)}
    assert set(STUDENTS) <= set(student_names())


def test_families_that_a_method_does_not_name_are_refused_in_the_page() -> None:
    wrong = [
        (family, method)
        for family, row in rows("## Every method").items()
        for method, kind in DISTILLERS.items()
        if kind.DETECTORS and family not in kind.DETECTORS and row[method] != "refused"
    ]
    assert wrong == []


@pytest.mark.parametrize("student", STUDENTS)
def test_icod_trains_every_family(student: str) -> None:
    (row,) = [row for row in rows("# Students").values() if row["trained here"] == f"`{student}`"]
    assert row["ICOD"] == "works"
    support_table.train_one_step(support_table.build(student, "icod"), student)


@pytest.mark.parametrize(
    ("student", "method"), [("dino-qr18", "gid"), ("yolof-qr18", "crosskd"), ("detr-qr18", "fgfi")]
)
def test_what_the_page_calls_refused_is_refused(student: str, method: str) -> None:
    (row,) = [row for row in rows("# Students").values() if row["trained here"] == f"`{student}`"]
    assert rows("## Every method")[row["family"]][method] == "refused"
    with pytest.raises(InputError):
        support_table.build(student, method)


def test_the_page_counts_what_works() -> None:
    methods = [BASELINE, *DISTILLERS]
    cells = [
        Cell("retinanet", "retinanet-qr18", m, "" if m in (BASELINE, "pkd") else "no", m == "fgfi") for m in methods
    ]
    line = next(line for line in support_table.page(cells).splitlines() if line.startswith("| retinanet | `"))
    neck = len(DISTILLERS) - 2  # all but icod and fgfi
    assert line == f"| retinanet | `retinanet-qr18` | works | refused | 1 of {neck} | none |"
