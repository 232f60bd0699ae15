"""Labels with math are drawn as math wherever a figure has them: ticks, titles, axes, legends, names beside points."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.text import Text

from analysis.loading.load import read_study
from analysis.loading.schema import Study
from analysis.plots import FIGURES
from analysis.report.report_spec import parse
from benchmarks.suite.synthetic_store import make_store
from tests.analysis.plots.figures import add_latency

LABELS = {"method": {"kd_cls": r"$\mathcal{L}_{kc}$"}, "T": {"1": r"$\tau_1$"}}
COLUMN = {"labels_of_columns": {"AP": r"$\mu_{AP}$"}}
AGAINST = {"baseline": {"method": "baseline"}}
BOTH = {"series": ["T", "method"]}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("math")
    axes = {"method": ["baseline", "kd_cls"], "T": ["1", "2"]}
    record = make_store(folder / "runs", axes, with_detections=True)
    add_latency(folder / "runs", {cell["run"]: 4.0 + 3 * k for k, cell in enumerate(record["cells"])})
    return read_study(folder / "runs", ["made"], cache=folder / "cache")


@pytest.mark.parametrize(
    ("keys", "labels"),
    [
        ({"kind": "seeds", **BOTH, **COLUMN}, ["$\\tau_{1}$, $\\mathcal{L}_{kc}$", "$\\mu_{AP}$ (%)"]),
        ({"kind": "heatmap", "x": "T", "y": "method"}, ["$\\tau_{1}$", "$\\mathcal{L}_{kc}$"]),
        ({"kind": "curve", "x": "T", "series": ["method"], **COLUMN}, ["$\\mathcal{L}_{kc}$", "$\\mu_{AP}$ (%)"]),
        ({"kind": "tide", **BOTH}, ["$\\tau_{1}$, $\\mathcal{L}_{kc}$"]),
        ({"kind": "iou", **BOTH, **AGAINST}, ["$\\tau_{1}$, $\\mathcal{L}_{kc}$"]),
        ({"kind": "per_class", **BOTH, **AGAINST, **COLUMN},
         ["$\\tau_{1}$, $\\mathcal{L}_{kc}$", "gain in $\\mu_{AP}$ (points)"]),
        ({"kind": "pareto", **BOTH, **COLUMN}, ["$\\tau_{1}$, $\\mathcal{L}_{kc}$", "$\\mu_{AP}$ (%)"]),
        ({"kind": "training", **BOTH}, ["$\\tau_{1}$, $\\mathcal{L}_{kc}$"]),
        ({"kind": "detections", "series": ["method"], "where": {"T": ["1"]}, "images": 2}, ["$\\mathcal{L}_{kc}$"]),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)  # fmt: skip
def test_math_is_drawn_as_math_and_nowhere_as_plain_text(
    study: Study, keys: dict[str, Any], labels: list[str], tmp_path: Path
) -> None:
    spec = parse({"sweep": "made", "labels": LABELS, **keys})
    module = FIGURES[spec.kind]
    figure = module.draw(module.data(study, spec, "made"), spec)
    figure.savefig(tmp_path / "figure.svg")  # ticks are set again when a figure is drawn
    found = [text for text in figure.findobj(Text) if text.get_visible()]
    for label in labels:
        same = [text.get_parse_math() for text in found if text.get_text() == label]
        assert same, label
        assert all(same), label
    plain = [text.get_text() for text in found if not text.get_parse_math()]
    notes = ("Bars", "Measured", "Left", "Bar:", "Dots", "Line", "The first", "Boxes")
    assert not [text for text in plain if ("L_kc" in text or "μ_AP" in text) and not text.startswith(notes)]
