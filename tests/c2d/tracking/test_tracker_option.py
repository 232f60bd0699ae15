"""The option `--track`: what is allowed, and what is checked before a training."""

from __future__ import annotations

import os
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from c2d.core.errors import InputError
from c2d.core.store_folder import RunStore
from c2d.tracking import tracker_option
from c2d.tracking.tracker_option import TrackerOption, check_trackers, parse_trackers


def test_trackers_are_repeated_or_separated_by_commas(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    found = parse_trackers(["tensorboard:logs,wandb:lab/papers", "mlflow:http://host:5000"])
    texts = [str(one) for one in found]
    assert texts == [f"tensorboard:{tmp_path}/logs", "wandb:lab/papers", "mlflow:http://host:5000"]
    assert parse_trackers(texts) == found  # what is stored is read again
    assert parse_trackers([]) == ()
    places = [option.place_text(RunStore(Path("runs"))) for option in found]
    assert places == [f"tensorboard {Path.cwd()}/logs", "wandb runs/tracking/wandb", "mlflow http://host:5000"]
    assert parse_trackers(["mlflow:postgresql://me@host/db"])[0].destination == "postgresql://me@host/db"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("tensorbord", "unknown tracker 'tensorbord'; did you mean 'tensorboard'?"),
        ("", "unknown tracker ''"),
        ("wandb,wandb:x", "wandb is given twice"),
        ("wandb:a/b/c", "wanted PROJECT or ENTITY/PROJECT"),
        ("mlflow:https://me:secret99@host", "MLFLOW_TRACKING_PASSWORD"),
        ("mlflow:postgresql://host/db?user=me&password=secret99", "MLFLOW_TRACKING_PASSWORD"),
        ("tensorboard:a\nb", "does not show"),
    ],
)
def test_a_mistake_is_one_line_with_its_fix(given: str, message: str) -> None:
    with pytest.raises(InputError, match=r"--track|tracker") as error:
        parse_trackers([given])
    assert message in str(error.value)
    assert "secret99" not in str(error.value)
    assert "\n" not in str(error.value)


def test_destinations_are_beside_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    store = RunStore(Path("runs"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    places = [TrackerOption(name).local_folder(store) for name in ("tensorboard", "mlflow", "wandb")]
    assert places == [Path("runs/tracking/tensorboard"), Path("runs/tracking/mlflow"), Path("runs/tracking")]
    assert TrackerOption("mlflow", "/x").local_folder(store) == Path("/x")
    assert TrackerOption("mlflow", "file:///x").local_folder(store) == Path("/x")
    assert TrackerOption("mlflow", "https://host").local_folder(store) is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://host")
    assert TrackerOption("mlflow").local_folder(store) is None


def test_all_that_is_missing_is_reported_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = ModuleSpec("wandb", None)  # what Python finds in a folder with that name
    installed = tracker_option.find_spec("json")
    found = {"wandb": folder, "sqlalchemy": None}
    monkeypatch.setattr(tracker_option, "find_spec", lambda name: found.get(name, installed))
    (tmp_path / "file").write_text("")
    options = parse_trackers(["wandb", f"tensorboard:{tmp_path}/file/logs", "mlflow:sqlite:///x.db"])
    with pytest.raises(InputError) as error:
        check_trackers(options, tmp_path)
    wandb, board, mlflow = str(error.value).splitlines()
    assert wandb == (
        "missing: wandb, which --track wandb needs; installed trackers: tensorboard, mlflow; "
        'fix: pip install "c2d-suite[track]"'
    )
    assert f"{tmp_path}/file is no folder" in board
    assert "pip install sqlalchemy" in mlflow
    check_trackers(options[:1], tmp_path, packages=False)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]  # a check writes nothing


def test_a_folder_that_cannot_be_written_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(InputError, match="permission denied; give another one"):
        check_trackers([TrackerOption("tensorboard")], tmp_path)
