"""AP per extra hour of training as a column: its numbers, its notes, its formats, and its explanation."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analysis.formats import FORMATS
from analysis.loading.schema import Study
from analysis.report.explain import explain_cell
from c2d.core.errors import InputError
from tests.analysis.tables.test_build_table import changed, row, study, table

HOURS = {"baseline": (1.0, 1.0, 1.0), "kd": (1.5, 1.5, 1.5), "crop": (1.0, 1.0, 1.0)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Study:
    def set_hours(frame: pd.DataFrame) -> None:
        for method, hours in HOURS.items():
            for seed, value in enumerate(hours):
                frame.loc[(frame["axis.method"] == method) & (frame["seed"] == seed), ["train_s", "train_cpu_s"]] = (
                    3600 * value,
                    7200 * value,
                )

    return changed(study(tmp_path_factory.mktemp("cost")), set_hours)


def test_a_row_that_costs_half_an_hour_more(made: Study) -> None:
    """Kd gains 5, 6 and 4 AP for half an hour: 10 AP an hour."""
    of = table(made, per_cost={})
    (column,) = [column for column in of.columns if column.key == "per.AP"]
    assert (column.label, column.unit, column.kind, column.better) == (
        "ΔAP per extra hour", "%/h", "gain per cost", "higher"
    )  # fmt: skip
    cell = row(of, "method=kd").cells["per.AP"]
    assert (cell.value, cell.n, cell.interval) == (pytest.approx(10), 3, "95 % Fieller")
    assert len(cell.runs) == 6
    assert any(sentence.startswith("Gain per extra hour: the difference to the baseline") for sentence in of.statistics)
    assert "train_hours" not in {column.key for column in of.columns}, "the cost is shown only where it is asked for"


def test_a_row_that_costs_a_cpu_hour_more(made: Study) -> None:
    """Two cores are busy for that half an hour."""
    of = table(made, per_cost={"cost": "train_cpu_hours"})
    (column,) = [column for column in of.columns if column.key == "per.AP"]
    assert (column.label, column.unit) == ("ΔAP per extra CPU hour", "%/CPU h")
    assert row(of, "method=kd").cells["per.AP"].value == pytest.approx(5)


def test_a_row_of_the_same_cost_has_a_dash_with_its_reason(made: Study) -> None:
    of = table(made, per_cost={"columns": ["AP", "AP50"]})
    assert row(of, "method=crop").cells["per.AP"].reason.startswith("the row costs no more than its baseline")
    assert row(of, "method=baseline").cells["per.AP50"].reason == "baseline"
    text = FORMATS["md"](of)
    assert "ΔAP50 per extra hour" in text
    assert "costs no more than its baseline" in text


def test_all_formats_have_it_and_explain_finds_its_runs(made: Study, tmp_path: Path) -> None:
    of = table(made, per_cost={})
    for name, write in FORMATS.items():
        text = write(of)
        assert "per extra hour" in text, name
        assert "Gain per extra hour" in text or name == "csv", name
    assert "+10.0 [" in FORMATS["md"](of), "a gain has a sign and an interval"
    path = tmp_path / "made-table.csv"
    path.write_text(FORMATS["csv"](of), encoding="utf-8")
    explained = explain_cell(path, "kd", "per.AP", made.runs)
    assert len(explained.runs) == 6
    assert "gain over the baseline divided by the extra cost" in explained.text()


def test_it_needs_a_baseline(made: Study) -> None:
    with pytest.raises(InputError, match="per_cost is a gain over a baseline"):
        table(made, baseline={}, per_cost={})
