"""`c2d impressions`: a folder that is a run and a data set, continued by the same call, refused when it is another."""

from __future__ import annotations

import json
import shutil
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import yaml

from c2d.cli import main as entry
from c2d.core.run_folder import RunFolder, read_json
from c2d.data.card_lookup import load_card
from c2d.specs.spec import parse_spec
from c2d.training.train import train
from tests.c2d.conftest import TINY, TinyStore
from tests.c2d.stand_in_impressions import stand_in

__all__ = ["stand_in"]
pytestmark = pytest.mark.usefixtures("stand_in", "commands")
ROOT = Path(__file__).parents[3]
SMALL = ("--images", 6, "--set", "final.iterations=4", "--set", "batch=3")


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands of this pyproject.toml: those of an editable installation may be older."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["c2d.commands"]
    points = [EntryPoint(name, value, "c2d.commands") for name, value in table.items()]
    monkeypatch.setattr(entry, "entry_points", lambda group: points)


@pytest.fixture(scope="module")
def detector(tiny_store: TinyStore) -> RunFolder:
    folder: RunFolder = tiny_store.create_run(4, seed=7)
    train(folder, tiny_store.options())
    return folder


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        entry.main([str(word) for word in words])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def places(store: TinyStore) -> tuple[object, ...]:
    return ("--runs", store.runs, "--data", store.data, "--quiet")


def test_a_detector_alone_makes_a_data_set_that_a_student_is_trained_on(
    tiny_store: TinyStore, detector: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "cats" / "impressions"
    code, text, err = call(capsys, "impressions", "make", detector.id, out, *SMALL, *places(tiny_store))
    assert (code, err) == (0, "")
    assert text.splitlines()[0].startswith("6 images (optimised); the teacher finds 50.0 % of 6 targets again")
    folder = RunFolder(out)
    spec = parse_spec(read_json(folder.spec), "x")
    assert (spec.kind, spec.teachers.detector, spec.impressions.final.iterations) == ("impressions", detector.id, 4)
    assert folder.read_status()["state"] == "done"
    assert load_card(str(out)).card.synthesis is not None

    again, text, _ = call(capsys, "impressions", "make", detector.id, out, *SMALL, *places(tiny_store))
    assert (again, folder.read_status()["attempt"]) == (0, 1)
    assert "6 images (optimised)" in text

    given = {"dataset": str(out), "student": str(TINY), "data_free": True}
    given["schedule"] = {"name": "smoke", "values": {"iterations": 2, "batch": 2}}
    (tmp_path / "student.yaml").write_text(yaml.safe_dump(given))
    code, text, err = call(
        capsys, "train", tmp_path / "student.yaml", "--runs", tmp_path / "runs", "--workers", 0, "--quiet"
    )
    assert (code, err) == (0, "")
    (run,) = (path.parent for path in (tmp_path / "runs").glob("*/result.json"))
    facts = read_json(run / "result.json")["training_images"]
    assert (facts["teacher"], facts["n_images"], facts["run"]) == (detector.id, 6, spec.id)


def test_an_interrupted_call_continues(
    tiny_store: TinyStore, detector: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("impressions", "make", detector.path, tmp_path / "made", *SMALL, *places(tiny_store))
    code, text, _ = call(capsys, *words, "--stop-after", 3)
    assert code == 0
    assert text.startswith("stopped after iteration 3")
    assert not (tmp_path / "made" / "result.json").exists()
    assert call(capsys, *words)[0] == 0
    steps = [json.loads(line)["iteration"] for line in (tmp_path / "made" / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4]


def test_controls_keep_targets_or_take_real_images(
    tiny_store: TinyStore, detector: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "made"
    call(capsys, "impressions", "make", detector.id, source, *SMALL, *places(tiny_store))
    id_of_source = parse_spec(read_json(source / "spec.json"), "x").id
    for kind, kept, claim in (
        ("noise", id_of_source, "true"), ("procedural", id_of_source, "true"), ("real", None, "false"),
    ):  # fmt: skip
        words = ("impressions", "control", source, tmp_path / kind, "--kind", kind, *places(tiny_store))
        code, text, err = call(capsys, *words)
        assert (code, err) == (0, "")
        assert text.rstrip().endswith(f"data_free: {claim}")
        spec = parse_spec(read_json(tmp_path / kind / "spec.json"), "x")
        assert (spec.impressions.images_from, spec.teachers.impressions) == (kind, kept)
        assert read_json(tmp_path / kind / "result.json")["source"] == ("made" if kept else None)
    code, _, err = call(
        capsys, "impressions", "control", tmp_path / "noise", tmp_path / "x", "--kind", "real", *places(tiny_store)
    )
    assert code == 2
    assert f"is a control itself (images_from: noise); give the synthesis whose targets it keeps, {id_of_source}" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--set", "priors.tv_l3=1"],
            "--set priors.tv_l3=1: unknown key of schedule.priors: 'tv_l3'; did you mean 'tv_l",
        ),
        (["--set", "images"], "--set images: give a key and its value, e.g. --set priors.tv_l1=0.1"),
        (["--set", "priors.tv_l1=-1"], "schedule.values.priors.tv_l1: Input should be greater than or equal to 0"),
        (["--set", "images_from=noise"], "other images are made of a finished synthesis: c2d impressions control"),
        (["--preset", "moy"], "unknown schedule of impressions 'moy'; did you mean 'moi'"),
        (["--set", "precision=amp-fp16"], "precision amp-fp16 needs a GPU"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    tiny_store: TinyStore, detector: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str],
    message: str,
) -> None:  # fmt: skip
    code, _, err = call(capsys, "impressions", "make", detector.id, tmp_path / "made", *words, *places(tiny_store))
    assert code == 2
    assert err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "made").exists()


def test_a_folder_that_holds_something_else_is_refused(
    tiny_store: TinyStore, detector: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made"
    call(capsys, "impressions", "make", detector.id, out, *SMALL, *places(tiny_store))

    def refusal(*words: object) -> str:
        code, _, err = call(capsys, "impressions", "make", detector.id, *words, *places(tiny_store))
        assert code == 2
        return err

    assert f"{out} holds another run (schedule.values.images 6, asked for 7); give another" in refusal(
        out, *SMALL, "--images", 7
    )
    assert "(seed 0, asked for 3)" in refusal(out, *SMALL, "--seed", 3)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    assert "exists and holds no synthesis; give a new folder" in refusal(tmp_path / "notes", *SMALL)
    assert "exists and holds no synthesis" in refusal(tmp_path / "notes" / "a.txt", *SMALL)
    assert (tmp_path / "notes" / "a.txt").read_text() == "mine"


def test_a_run_that_is_no_finished_detector_is_refused(
    tiny_store: TinyStore, detector: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting = tiny_store.create_run(4, seed=8)
    code, _, err = call(capsys, "impressions", "make", waiting.id, tmp_path / "made", *places(tiny_store))
    assert (code, "is waiting; finish it first: c2d train" in err) == (2, True)
    call(capsys, "impressions", "make", detector.id, tmp_path / "made", *SMALL, *places(tiny_store))
    code, _, err = call(capsys, "impressions", "make", tmp_path / "made", tmp_path / "more", *places(tiny_store))
    assert (code, "is of kind impressions; images are made from a detector" in err) == (2, True)
    shutil.copytree(detector.path, tmp_path / "moved")
    words: list[Any] = [tmp_path / "moved", tmp_path / "of-a-copy", *SMALL, *places(tiny_store)]
    assert call(capsys, "impressions", "make", *words)[0] == 0
