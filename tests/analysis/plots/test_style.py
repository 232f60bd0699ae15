"""The look of figures, their files, and what names may be."""

from __future__ import annotations

import math
import shutil
import string
import subprocess
import sys
from pathlib import Path
from typing import get_args

import matplotlib
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.plots import FIGURES, figure_files, figure_layout, figure_text, style
from analysis.plots.figure_files import read_csv
from analysis.plots.point_labels import PointLabel, place_point_labels
from analysis.report.report_spec import read_spec
from c2d.core.errors import InputError
from tests.analysis.plots.color_vision import SIGHT, lab_of
from tests.analysis.plots.figures import HOSTILE, overlaps, save, texts


def figure_of(names, notes=("Mean of 3 seeds.",), title=""):
    with style.paper_style():
        figure, axes = figure_layout.new_figure(style.SINGLE_IN, 2.2)
        entries = []
        for index, name in enumerate(names):
            (handle,) = axes.plot(
                [0, 1, 2], np.array([0, 1, 1.5]) + index, **style.line_style(index, 0, hollow=index % 2 == 1)
            )
            entries.append((handle, name))
        axes.set_xlabel("IoU")
        figure_layout.add_legend_and_notes(figure, notes, entries, title)
    return figure


def test_a_figure_leaves_the_callers_settings_alone():
    before = dict(matplotlib.rcParams)
    figure_of(["a"])
    assert dict(matplotlib.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_the_look_does_not_depend_on_the_callers_settings(tmp_path):
    data = pd.DataFrame({"x": [1.0]})
    plain = save(figure_of(HOSTILE), data, tmp_path / "a")
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9, "text.usetex": False, "svg.fonttype": "none"}):
        other = save(figure_of(HOSTILE), data, tmp_path / "b")
    assert [path.read_bytes() for path in plain] == [path.read_bytes() for path in other]


def test_equal_figures_are_equal_files_in_another_process_too(tmp_path):
    code = (
        "import sys, pathlib, pandas as pd\n"
        "from tests.analysis.plots.test_style import figure_of, HOSTILE\n"
        "from tests.analysis.plots.figures import save\n"
        "save(figure_of(HOSTILE), pd.DataFrame({'x': [1.0]}), pathlib.Path(sys.argv[1]))\n"
    )
    for name, seed in (("a", "1"), ("b", "2")):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], check=True, timeout=120,
                       cwd=Path(__file__).parents[3], env={"PYTHONHASHSEED": seed, "HOME": str(tmp_path)})  # fmt: skip
    for suffix in (".pdf", ".svg", ".csv"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_fonts_are_embedded_and_nothing_is_fetched(tmp_path):
    pdf, svg, _ = save(figure_of(HOSTILE, title="A title"), pd.DataFrame({"x": [1.0]}), tmp_path / "a")
    assert b"<text" not in svg.read_bytes()  # text is drawn as paths
    assert "http" not in svg.read_text().replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    raw = pdf.read_bytes()
    assert b"/FontFile2" in raw
    assert b"/Type3" not in raw
    assert b"CreationDate" not in raw
    if shutil.which("pdffonts"):
        lines = subprocess.run(["pdffonts", pdf], capture_output=True, text=True, check=True).stdout.splitlines()[2:]
        assert lines
        assert all(line.split()[-5:-2] == ["yes", "yes", "yes"] for line in lines)


def test_twelve_series_with_hostile_names_do_not_touch():
    figure = figure_of(HOSTILE, notes=["Hollow: unfinished. " * 8], title="A title that says $x_1$ " * 4)
    assert overlaps(figure) == []
    assert "icod $\\alpha_1$" in texts(figure)
    assert "_hidden" in texts(figure)


def test_the_check_for_overlaps_finds_one():
    figure = figure_of(["a"])
    figure.text(0.5, 0.5, "one")
    figure.text(0.5, 0.5, "two")
    assert ("one", "two") in overlaps(figure)
    figure.text(0.99, 0.9, "too long for its place")
    assert ("too long for its place", "edge") in overlaps(figure)


def test_any_two_of_twelve_methods_differ_in_colour_or_in_colour_and_dash():
    """A distance of 10 in CIE Lab is seen side by side; colours nearer than 20 have other dashes as well."""
    looks = [style.series_style(index) for index in range(12)]
    for matrix in SIGHT.values():
        lab = lab_of([look.color for look in looks], matrix)
        for i, one in enumerate(looks):
            for j, other in enumerate(looks[:i]):
                far = np.linalg.norm(lab[i] - lab[j])
                assert far > 20 or (far > 5 and one.line != other.line), (one.color, other.color, far)


def test_grey_copies_are_told_apart_by_dashes():
    """In grey two methods of one dash differ by 8 in lightness."""
    looks = [style.series_style(index) for index in range(12)]
    light = lab_of([look.color for look in looks], np.eye(3))[:, 0]
    for i, one in enumerate(looks):
        for j, other in enumerate(looks[:i]):
            assert one.line != other.line or abs(light[i] - light[j]) > 8, (one.color, other.color)


def test_a_second_turn_of_the_palette_has_other_dashes():
    for index in range(12):
        assert style.series_style(index).line != style.series_style(index + 12).line


def test_the_marker_and_the_hatch_are_the_students():
    assert len({style.series_style(1, student).marker for student in range(12)}) == 12
    assert len({style.series_style(1, student).hatch for student in range(5)}) == 5
    assert style.series_style(1, 3).color == style.series_style(1, 0).color


def test_words_stand_alone_and_wrap():
    figure = figure_layout.message_figure("No finished runs: 2 failed, 1 new. " * 6)
    assert "No finished runs: 2 failed, 1 new." in " ".join(" ".join(texts(figure)).split())
    assert overlaps(figure) == []


@pytest.mark.parametrize(
    ("value", "digits", "sign", "text"),
    [(1.25, 1, False, "1.2"), (-0.04, 1, False, "0.0"), (-3.14, 2, True, "−3.14"), (2, 1, True, "+2.0"),
     (math.nan, 1, False, "–"), (math.inf, 1, False, "–"), (0.0, 1, True, "0.0")],
)  # fmt: skip
def test_numbers(value, digits, sign, text):
    assert figure_text.format_number(value, digits, sign) == text


def test_long_names_lose_their_middle_but_stay_apart():
    assert figure_text.shorten("abc" * 20, 10) == "abcabc…abc"
    assert figure_text.shorten("a\n b\t c") == "a b c"
    assert figure_text.shorten("日") == "□"
    a, b = "x" * 30 + "1" + "y" * 30, "x" * 30 + "2" + "y" * 30
    assert figure_text.shorten_distinct([a, b, "z" * 50], 20) == [a, b, figure_text.shorten("z" * 50, 20)]


def test_wrapped_lines_fit():
    lines = figure_text.wrap_text("a few words and " + "w" * 200, 1.5, 6)
    assert all(figure_text.text_width_in(line, 6) <= 1.5 for line in lines)
    assert "".join(lines).replace(" ", "") == "afewwordsand" + "w" * 200


def test_names_find_places_or_none_is_written():
    with style.paper_style():
        figure, axes = figure_layout.new_figure(3.4, 2.5)
        axes.set(xlim=(0, 10), ylim=(0, 10))
        figure_layout.add_legend_and_notes(figure)
        apart = [PointLabel(i + 0.5, (i * 7) % 10 + 0.5, f"name {i}", "black") for i in range(10)]
        assert place_point_labels(figure, axes, apart)
        assert overlaps(figure) == []
        count = len(texts(figure))
        assert not place_point_labels(figure, axes, [PointLabel(5, 5, "a long name of a point", "black")] * 30)
        assert len(texts(figure)) == count


def test_every_figure_kind_has_a_spec_data_and_draw(tmp_path: Path):
    assert list(FIGURES) == ["pareto", "heatmap", "curve", "tide", "tide_curves", "per_class", "iou",
                             "precision_recall", "f1_threshold", "confusion", "reliability", "seeds",
                             "training", "detections"]  # fmt: skip
    for kind, module in FIGURES.items():
        assert get_args(module.Spec.model_fields["kind"].annotation) == (kind,)
        assert callable(module.data)
        assert callable(module.draw)
    (tmp_path / "a.yaml").write_text("kind: paretto\n")
    with pytest.raises(InputError, match="did you mean 'pareto'"):
        read_spec(tmp_path / "a.yaml")


def test_importing_the_package_loads_no_plotting():
    code = "import sys, analysis.plots; sys.exit('matplotlib' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, cwd=Path(__file__).parents[3]).returncode == 0


text_columns = st.lists(st.text(st.characters(blacklist_categories=["Cs"]), max_size=8), min_size=3, max_size=3)
number_columns = st.lists(st.floats(allow_infinity=True), min_size=3, max_size=3)
whole_columns = st.lists(st.integers(-(2**62), 2**62), min_size=3, max_size=3)
truth_columns = st.lists(st.booleans(), min_size=3, max_size=3)
names = st.text(string.printable, min_size=1, max_size=5)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(names, text_columns | number_columns | whole_columns | truth_columns, min_size=1, max_size=4))
def test_a_csv_is_read_as_it_was_written(tmp_path, columns):
    frame = pd.DataFrame({name: pd.Series(values, dtype="str" if isinstance(values[0], str) else None)
                          for name, values in columns.items()})  # fmt: skip
    (tmp_path / "a.csv").write_bytes(figure_files.csv_text(frame).encode())
    pd.testing.assert_frame_equal(read_csv(tmp_path / "a.csv"), frame)


def test_labels_that_look_like_numbers_stay_text(tmp_path):
    frame = pd.DataFrame({"row": ["0.10", "1e-3", "True"], "value": [0.1, np.nan, 1e-300], "n": [1, 2, 3]})
    (tmp_path / "a.csv").write_bytes(figure_files.csv_text(frame).encode())
    assert (tmp_path / "a.csv").read_text().splitlines()[1] == '"0.10",0.1,1'
    pd.testing.assert_frame_equal(read_csv(tmp_path / "a.csv"), frame)
    plain = pd.read_csv(tmp_path / "a.csv", dtype={"row": "str"})
    pd.testing.assert_frame_equal(plain, frame)


@pytest.mark.parametrize("content", ["", '"a"\n"b', '"a","b"\n1\n', '"a"\nx\n'])
def test_an_edited_csv_is_refused(tmp_path, content):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(InputError, match=r"a\.csv"):
        read_csv(tmp_path / "a.csv")
