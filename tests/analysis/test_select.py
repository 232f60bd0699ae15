"""Groups: equal cells are one row, nothing is averaged unseen, order comes from the sweep and not from the frame."""

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.errors import InputError
from analysis.frame import Study
from analysis.read import read
from analysis.select import baseline_of, groups
from tests.analysis.stores import make_store

AXES = {"method": ["baseline", "kd"], "T": ["1", "2", "3"]}


def collapsed(tmp_path: Path, seeds: int = 2) -> Study:
    """A sweep whose baseline ignores T: its three cells are one run a seed."""
    record = make_store(tmp_path / "runs", AXES, seeds=seeds)
    first = {
        cell["seed"]: cell["run"] for cell in record["cells"] if cell["labels"] == {"method": "baseline", "T": "1"}
    }
    for cell in record["cells"]:
        if cell["labels"]["method"] == "baseline":
            cell["run"] = first[cell["seed"]]
    (tmp_path / "runs" / "sweeps" / "made.json").write_text(json.dumps(record))
    return read(tmp_path / "runs", ("made",), tmp_path / "cache")


def test_equal_cells_are_one_group_with_a_blank(tmp_path: Path) -> None:
    found = groups(collapsed(tmp_path), "made", {"method": [], "T": []})
    assert [group.shown for group in found] == [("baseline", ""), ("kd", "1"), ("kd", "2"), ("kd", "3")]
    assert [group.key for group in found] == ["method=baseline", *(f"method=kd, T={T}" for T in "123")]
    assert [len(group.rows) for group in found] == [2, 2, 2, 2]
    assert found[0].values("T") == {"1", "2", "3"}
    assert not found[0].depends("T")


def test_the_baseline_that_ignores_an_axis_is_found_for_each_of_its_labels(tmp_path: Path) -> None:
    found = groups(collapsed(tmp_path), "made", {"method": [], "T": []})
    assert [baseline_of(group, found, {"method": "baseline"}) for group in found] == [found[0]] * 4
    assert [baseline_of(group, found, {}) for group in found] == [None] * 4


def test_a_row_with_several_baselines_has_none(tmp_path: Path) -> None:
    found = groups(collapsed(tmp_path), "made", {"method": [], "T": []})
    of = [baseline_of(group, found, {"method": "kd"}) for group in found]
    assert of[0] is None
    assert of[1:] == found[1:]


def test_labels_are_shown_as_asked_and_keys_stay(tmp_path: Path) -> None:
    asked = {"method": ["kd", "baseline"], "T": ["2"]}
    found = groups(collapsed(tmp_path), "made", asked, labels={"method": {"kd": "our & method"}})
    assert [group.shown for group in found] == [("our & method", "2"), ("baseline", "2")]
    assert found[0].key == "method=kd, T=2"


@pytest.mark.parametrize(
    ("axes", "where", "words"),
    [
        ({"method": []}, {}, "mixes the labels '1', '2', '3' of axis T"),
        ({"methods": []}, {}, "did you mean 'method'"),
        ({"method": ["kdd"]}, {}, "did you mean 'kd'"),
        ({"method": []}, {"T": ["4"]}, "unknown label of axis T"),
        ({}, {}, "mixes the labels"),
    ],
)
def test_what_cannot_be_grouped_is_named(
    axes: dict[str, list[str]], where: dict[str, list[str]], words: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=words):
        groups(collapsed(tmp_path), "made", axes, where)


def test_a_hidden_axis_is_seen_though_its_labels_have_different_seeds(tmp_path: Path) -> None:
    """Seed 0 of T 1 and seed 1 of T 2 are no two seeds of one cell."""
    study = collapsed(tmp_path)
    frame = study.frame
    keep = ((frame["axis.T"] == "1") & (frame["seed"] == 0)) | ((frame["axis.T"] == "2") & (frame["seed"] == 1))
    torn = dataclasses.replace(study, frame=frame[keep])
    with pytest.raises(InputError, match="of axis T"):
        groups(torn, "made", {"method": ["kd"]})


def test_an_unknown_sweep_and_no_cells(tmp_path: Path) -> None:
    study = collapsed(tmp_path)
    with pytest.raises(InputError, match="did you mean 'made'"):
        groups(study, "mad", {"method": []})
    fixed = {"method": ["baseline"], "T": ["1"]}
    assert [group.key for group in groups(study, "made", {"method": [], "T": []}, fixed)] == ["method=baseline, T=1"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return collapsed(tmp_path_factory.mktemp("select"))


@settings(max_examples=40, deadline=None)
@given(order=st.permutations(range(12)))
def test_the_order_of_the_frame_says_nothing(order: list[int], study: Study) -> None:
    mixed = dataclasses.replace(study, frame=study.frame[study.frame["role"] == "student"].iloc[order])
    asked = {"method": [], "T": []}
    for one, other in zip(groups(study, "made", asked), groups(mixed, "made", asked), strict=True):
        assert (one.key, one.shown, one.labels, one.also) == (other.key, other.shown, other.labels, other.also)
        assert one.runs == other.runs
