"""Groups: equal cells are one row, nothing is averaged unseen, order comes from the sweep and not from the frame."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.loading.load import read_study
from analysis.loading.schema import Study
from analysis.tables.groups import baseline_of, groups
from benchmarks.suite.synthetic_store import make_store
from c2d.core.errors import InputError

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
    return read_study(tmp_path / "runs", ("made",), tmp_path / "cache")


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


def shared(tmp_path: Path, axes: dict[str, list[str]], same: Callable[[dict[str, str]], Any]) -> Study:
    """A sweep of one seed whose cells with equal `same(labels)` are one run."""
    record = make_store(tmp_path / "runs", axes, seeds=1)
    first: dict[str, str] = {}
    for cell in record["cells"]:
        cell["run"] = first.setdefault(str(same(cell["labels"])), cell["run"])
    (tmp_path / "runs" / "sweeps" / "made.json").write_text(json.dumps(record))
    return read_study(tmp_path / "runs", ("made",), tmp_path / "cache")


def test_groups_that_would_share_a_name_spell_out_their_labels(tmp_path: Path) -> None:
    """The baseline is one run for a1 and a2 and another for b1: blank both times, it could not be told apart."""
    axes = {"model": ["a1", "a2", "b1", "b2"], "method": ["baseline", "kd"]}
    study = shared(tmp_path, axes, lambda at: at["model"][0] if at["method"] == "baseline" else at)
    found = groups(study, "made", {"method": ["baseline"], "model": []}, labels={"model": {"a1": "A"}})
    assert [group.key for group in found] == ["method=baseline, model=a1/a2", "method=baseline, model=b1/b2"]
    assert [group.shown for group in found] == [("baseline", "A/a2"), ("baseline", "b1/b2")]
    every = groups(study, "made", {"model": [], "method": []})
    base = {str(group.labels): baseline_of(group, every, {"method": "baseline"}) for group in every}
    assert [other and other.key for other in base.values()] == [
        f"model={pair}, method=baseline" for pair in ("a1/a2", "b1/b2") for _ in range(3)
    ]  # fmt: skip


def test_groups_that_no_name_tells_apart_are_refused(tmp_path: Path) -> None:
    """(a, 1) and (b, 2) are one run, (a, 2) and (b, 1) another: both have all labels of both axes."""
    axes = {"model": ["a", "b"], "T": ["1", "2"]}
    study = shared(tmp_path, axes, lambda at: (at["model"] == "a") == (at["T"] == "1"))
    with pytest.raises(InputError, match="would all be called 'all'; keep one of them"):
        groups(study, "made", {"model": [], "T": []})


def test_a_label_without_a_baseline_cell_has_the_baseline_that_ignores_its_axis(tmp_path: Path) -> None:
    """As with `include: [{method: kd, T: 3}]`."""
    study = collapsed(tmp_path)
    frame = study.frame
    less = dataclasses.replace(study, frame=frame[~((frame["axis.method"] == "baseline") & (frame["axis.T"] == "3"))])
    found = groups(less, "made", {"method": [], "T": []})
    assert found[0].values("T") == {"1", "2"}
    assert [baseline_of(group, found, {"method": "baseline"}) for group in found] == [found[0]] * 4
    alone = dataclasses.replace(study, frame=frame[(frame["axis.method"] == "kd") | (frame["axis.T"] == "1")])
    found = groups(alone, "made", {"method": [], "T": []})
    of = [baseline_of(group, found, {"method": "baseline"}) for group in found]
    assert of == [found[0], found[0], None, None]  # one cell: it does not show that T makes no difference


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
