"""No text field of a CSV file is run by a spreadsheet; numbers and everything else read back as they were."""

import csv
import io

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.plots.figure_files import csv_text, read_csv
from c2d.markup.formula_guard import guard, guarded_frame, unguard

STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


@pytest.mark.parametrize("start", STARTS, ids=ascii)
def test_text_that_is_run_gets_an_apostrophe(start):
    text = f"{start}HYPERLINK(1)"
    assert guard(text) == f"'{text}"
    assert guard(f"'{text}") == f"''{text}"


@pytest.mark.parametrize("text", ["-1.5", "+2", "-1e-3", "-.5", "-7.", "", "ssd300", "'a", "''", "a=b", "1-2", "–1"])
def test_numbers_and_other_text_stay(text):
    assert guard(text) == text
    assert unguard(text) == text


@given(st.text(st.sampled_from("=+-@'\t\r\n1.5eabc"), max_size=8))
def test_what_was_guarded_reads_back(text):
    assert unguard(guard(text)) == text
    bare = guard(text)
    assert not bare.startswith(STARTS) or float(bare) == float(bare)


FRAME = pd.DataFrame(
    {"=name": ["=1+1", "-1.5", None], "value": [-1.5, float("nan"), 2.0], "n": [-1, 0, 1], "@b": [True, False, True]}
)


def test_a_frame_keeps_its_numbers():
    text = guarded_frame(FRAME).to_csv(index=False)
    assert text.splitlines()[:3] == ["'=name,value,n,'@b", "'=1+1,-1.5,-1,True", "-1.5,,0,False"]
    again = pd.read_csv(io.StringIO(text))
    assert again["value"].tolist()[0] == -1.5
    assert again["n"].tolist() == [-1, 0, 1]


def test_the_data_of_a_figure_are_guarded_and_read_back(tmp_path):
    frame = FRAME.assign(**{"=name": ["=1+1", "-1.5", "'=2"]}).astype({"=name": "str"})
    path = tmp_path / "a.csv"
    path.write_bytes(csv_text(frame).encode())
    fields = [field for line in csv.reader(io.StringIO(path.read_text())) for field in line]
    assert not [field for field in fields if field.startswith(("=", "@"))]
    assert "-1.5" in fields
    pd.testing.assert_frame_equal(read_csv(path), frame)
