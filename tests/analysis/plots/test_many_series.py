"""Twelve methods on three students: one look a method and a student in all figures, no taller than a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.colors import to_hex

from analysis.loading.load import read_study
from analysis.loading.schema import Study
from analysis.plots import FIGURES
from analysis.plots.figure_parts import Limits, figure_parts
from analysis.plots.rows import rows_of
from analysis.plots.style import MOST_HEIGHT_IN, PALETTE
from analysis.report.report import write_report
from analysis.report.report_contents import ReportRequest
from analysis.report.report_spec import parse
from benchmarks.suite.synthetic_run import write_json
from benchmarks.suite.synthetic_store import make_store
from tests.analysis.plots.figure_sheet import METHODS, STUDENTS, value
from tests.analysis.plots.figures import add_latency, overlaps, texts

SERIES = ["model", "method"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("many")
    record = make_store(folder / "runs", {"model": STUDENTS, "method": METHODS}, value=value, with_detections=True)
    add_latency(folder / "runs", {cell["run"]: 4.0 + k % 9 for k, cell in enumerate(record["cells"])})
    return read_study(folder / "runs", ["made"], cache=folder / "cache")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("C2D_CACHE", str(tmp_path / "cache"))


def parts_of(study: Study, kind: str, **keys: Any) -> list[tuple[pd.DataFrame, Any]]:
    spec = parse({"kind": kind, "sweep": "made", "series": SERIES, **keys})
    data = FIGURES[kind].data(study, spec, "made")
    return [(part, FIGURES[kind].draw(part, spec)) for part in figure_parts(data, FIGURES[kind].limits(data, spec))]


BASE = {"baseline": {"method": "baseline"}}
KINDS: dict[str, dict[str, Any]] = {
    "seeds": {},
    "tide": {},
    "tide_curves": {},
    "iou": BASE,
    "per_class": BASE,
    "pareto": {},
    "training": BASE,
    "detections": {**BASE, "images": 2, "where": {"model": ["ssd300"]}},
    "precision_recall": {},
    "f1_threshold": {},
    "confusion": {},
    "reliability": {},
}


@pytest.mark.parametrize("kind", KINDS)
def test_36_rows_are_told_apart_on_pages_without_overlaps(study: Study, kind: str) -> None:
    parts = parts_of(study, kind, **KINDS[kind])
    shown = {row for part, _ in parts for row in part["row"].astype(str) if row}
    wanted = 33 if kind == "per_class" else 12 if kind == "detections" else 36
    assert len(shown) == wanted
    for part, figure in parts[:2]:
        assert figure.get_size_inches()[1] <= MOST_HEIGHT_IN
        assert overlaps(figure) == []
        if "color" in part and kind not in ("seeds", "per_class", "training"):
            methods = part[["method", "color"]].drop_duplicates()
            assert (methods["color"] % len(PALETTE)).is_unique
            assert methods["method"].is_unique


def test_a_method_has_one_colour_and_a_student_one_marker_in_every_figure(study: Study) -> None:
    looks: dict[str, set[tuple[Any, ...]]] = {"method": set(), "student": set()}
    for kind in ("seeds", "tide", "tide_curves", "iou", "pareto", "training"):
        keys = {} if kind == "pareto" else BASE
        spec = parse({"kind": kind, "sweep": "made", "series": SERIES, **keys})
        data = FIGURES[kind].data(study, spec, "made")
        for part, number in (("method", "color"), ("student", "marker")):
            looks[part] |= set(map(tuple, data[[part, number]].drop_duplicates().to_numpy().tolist()))
    for student in STUDENTS:  # figures of one student alone, as the default report has them
        spec = parse({"kind": "iou", "sweep": "made", "where": {"model": [student]}})
        data = FIGURES["iou"].data(study, spec, "made")
        looks["method"] |= set(map(tuple, data[["method", "color"]].drop_duplicates().to_numpy().tolist()))
        looks["student"] |= {(student, int(number)) for number in data["marker"].unique()}
    assert len(looks["method"]) == len(METHODS)
    assert len({number for _, number in looks["method"]}) == len(METHODS)
    assert len(looks["student"]) == len(STUDENTS)
    assert dict(looks["method"])["baseline"] == 0


def test_the_drawn_colours_are_those_of_the_frame(study: Study) -> None:
    ((data, figure),) = parts_of(study, "iou", **BASE)
    assert len(figure.axes) == 6
    colors = data.drop_duplicates("row").set_index("row")["color"]
    for place, student in enumerate(STUDENTS):
        panel = figure.axes[2 * place]
        assert panel.get_title(loc="left") == student
        mine = data[(data["form"] == "AP") & (data["student"] == student)]
        for line, (row, points) in zip(panel.lines, mine.groupby("row", sort=False), strict=True):
            assert to_hex(line.get_color()).upper() == PALETTE[colors[row]]
            assert line.get_ydata() == pytest.approx(points["value"].to_numpy())


def test_the_legend_has_methods_and_the_panels_have_students(study: Study) -> None:
    for kind, keys in (("iou", BASE), ("tide", {}), ("tide_curves", {})):
        ((_, figure),) = parts_of(study, kind, **keys)
        (legend,) = figure.legends
        assert [text.get_text() for text in legend.get_texts()] == list(METHODS)
        assert all(any(student in text for text in texts(figure)) for student in STUDENTS)


def test_many_points_get_numbers_and_a_legend_of_them(study: Study) -> None:
    ((data, figure),) = parts_of(study, "pareto")
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 37  # and the front
    assert legend.get_texts()[0].get_text() == f"1: {data['row'].iloc[0]}"
    assert {str(k) for k in range(1, 37)} <= set(texts(figure))


def test_a_run_that_is_added_changes_no_colour(tmp_path: Path) -> None:
    """Colours follow from names, so neither the state of runs nor their order plays a part."""
    axes = {"method": ["z", "baseline", "a", "m"]}
    found = []
    for name, state in (("early", lambda labels, seed: "new" if labels["method"] != "m" else "done"),
                        ("late", lambda labels, seed: "done")):  # fmt: skip
        make_store(tmp_path / name, axes, seeds=2, state=state)
        study = read_study(tmp_path / name, ["made"], cache=tmp_path / "cache")
        spec = parse({"kind": "iou", "sweep": "made"})
        found.append({row.name: (row.look.color, row.look.marker) for row in rows_of(study, spec, "made")})
    assert found[0] == found[1] == {"z": (3, 0), "baseline": (0, 0), "a": (1, 0), "m": (2, 0)}


def test_two_sweeps_of_a_report_share_their_methods_and_no_sweep_has_a_colour_twice(tmp_path: Path) -> None:
    first = ["baseline", *(f"a{k}" for k in range(8)), "shared"]
    second = ["baseline", "shared", *(f"b{k}" for k in range(8))]
    make_store(tmp_path / "runs", {"method": first}, seeds=1, name="one")
    make_store(tmp_path / "runs", {"method": second}, seeds=1, name="two")
    study = read_study(tmp_path / "runs", (), cache=tmp_path / "cache")
    looks = {}
    for sweep in ("one", "two"):
        rows = rows_of(study, parse({"kind": "iou", "sweep": sweep}), sweep)
        looks[sweep] = {row.name: row.look.color for row in rows}
        assert len(set(looks[sweep].values())) == 10
        assert max(looks[sweep].values()) < len(PALETTE)
    assert looks["one"]["shared"] == looks["two"]["shared"]


def test_beyond_the_palette_a_figure_is_split_with_the_baseline_in_each_part() -> None:
    names = ["baseline", *(f"m{k:02}" for k in range(17))]
    frame = pd.DataFrame(
        {
            "row": names,
            "student": "",
            "method": names,
            "color": [*range(12), *range(13, 19)],
            "baseline": [name == "baseline" for name in names],
        }
    )
    parts = figure_parts(frame, Limits(rows=48))
    assert [len(part) for part in parts] == [12, 7]
    assert all(part["row"].iloc[0] == "baseline" for part in parts)
    assert {row for part in parts for row in part["row"]} == set(names)
    assert figure_parts(frame, Limits(rows=48, colors=False))[0] is frame


def test_students_stay_together_when_a_figure_is_split() -> None:
    rows = [(student, method) for student in ("s", "t", "u") for method in ("baseline", "a", "b")]
    frame = pd.DataFrame(
        {"row": [f"{s}, {m}" for s, m in rows], "student": [s for s, _ in rows], "method": [m for _, m in rows],
         "color": [("baseline", "a", "b").index(m) for _, m in rows], "baseline": [m == "baseline" for _, m in rows]}
    )  # fmt: skip
    parts = figure_parts(frame, Limits(rows=7))
    assert [list(part["student"].unique()) for part in parts] == [["s", "t"], ["u"]]
    small = figure_parts(frame, Limits(rows=2))
    assert [list(part["method"]) for part in small][:2] == [["baseline", "a"], ["baseline", "b"]]


def test_a_report_names_the_parts_of_a_split_figure(tmp_path: Path) -> None:
    names = ["baseline", *(f"m{k:02}" for k in range(15))]
    make_store(tmp_path / "runs", {"method": names}, seeds=1)
    spec = tmp_path / "over-iou.yaml"
    spec.write_text("kind: iou\nsweep: made\ntitle: Over IoU\nbaseline: {method: baseline}\n")
    lines: list[str] = []
    request = ReportRequest(tmp_path / "runs", tmp_path / "out", ("made",), (str(spec),), cache=tmp_path / "cache")
    write_report(request, lines.append)
    made = sorted(path.name for path in (tmp_path / "out" / "figures").glob("*.svg"))
    assert made == ["over-iou-1-of-2.svg", "over-iou-2-of-2.svg"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Figure 1 of 2: one figure cannot show its 16 rows." in page
    assert any("over-iou: 16 rows are more than one figure can show; 2 figures" in line for line in lines)


def test_the_students_of_one_sweep_have_different_markers(tmp_path: Path) -> None:
    """Two labels that are one student, under two schedules for instance, are two markers."""
    record = make_store(tmp_path / "runs", {"model": ["short", "long"], "method": ["baseline", "a"]}, seeds=1)
    for cell in record["cells"]:
        path = tmp_path / "runs" / cell["run"] / "spec.json"
        spec = pd.read_json(path, typ="series").to_dict()
        spec["student"] = {"name": "tiny", "digest": "e" * 64}
        write_json(path, spec)
    study = read_study(tmp_path / "runs", ["made"], cache=tmp_path / "cache")
    rows = rows_of(study, parse({"kind": "iou", "sweep": "made", "series": SERIES}), "made")
    assert len({row.look.marker for row in rows}) == 2
