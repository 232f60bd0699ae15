"""Folders, hosts and users of a machine in texts: all of them go, and nothing else changes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, strategies

from c2d.core.archives.archive_index import entry_of
from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, atomic_write_json, read_json
from sweeps.archive.export_runs import ExportRequest, export_runs
from sweeps.archive.machine_places import MachinePlaces, collect_places

STORE = Path(__file__).parents[2] / "fixtures" / "runs"
STUDENT = "tiny-retinanet-icod-da918d770025-s0"
PLACES = MachinePlaces(
    {"/srv/runs": "$RUNS", "/srv": "$DATA", "/home/ada": "$HOME"}, {"node-7": "host-1", "ada": "user"}
)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("/srv/runs/a-s0/spec.json", "$RUNS/a-s0/spec.json"),
        ("/srv/runs2/x", "$DATA/runs2/x"),  # another folder with the same beginning
        ("img='/srv/scenes/val'", "img='$DATA/scenes/val'"),
        ("no file /opt/big/x.yaml; check", "no file $PLACE/x.yaml; check"),
        ("--data=/mnt/d", "--data=$PLACE/d"),
        (r"C:\Users\ada\x.py", "$PLACE/x.py"),
        ("~ada/x ~/y", "$PLACE/x $PLACE/y"),
        ("file:///home/ada/m", "file://$HOME/m"),
        ("https://cocodataset.org/#download", "https://cocodataset.org/#download"),
        ("AP50/AP, 3 / 4, train/val, $RUNS/a", "AP50/AP, 3 / 4, train/val, $RUNS/a"),
    ],
)
def test_absolute_paths_are_replaced_and_relative_ones_stay(text: str, masked: str) -> None:
    assert PLACES.without_folders(text) == masked
    assert PLACES.without_folders(masked) == masked
    assert PLACES.first_place(masked) == ""


def test_names_are_replaced_as_words_and_process_ids_go() -> None:
    assert PLACES.without_names("pid 12 on node-7 of ada, node-77, adam") == "pid - on host-1 of user, node-77, adam"


@given(strategies.text(alphabet="/srvhome ada.node-7'~:\\x", max_size=40))
def test_no_place_is_left_in_any_text(text: str) -> None:
    masked = PLACES.without_names(PLACES.without_folders(text))
    assert PLACES.first_place(masked) == ""


def test_hosts_of_an_earlier_export_keep_their_numbers() -> None:
    records = [("a", {"host": "host-1"}), ("b", {"attempts": [{"machine": {"host": "zeta"}}]}), ("c", {"node": "eta"})]
    names = collect_places(records, Path("/srv/runs")).names
    assert len({names["eta"], names["zeta"], "host-1"}) == 3
    assert "host-1" not in names


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store whose runs name places as real ones do."""
    store = Path(shutil.copytree(STORE, tmp_path / "store"))
    run = RunFolder(store / STUDENT)
    config = run.config.read_text() + f"data_root = '{tmp_path}/data/scenes'\n"
    run.config.write_text(config)
    atomic_write_json(run.result, {**read_json(run.result), "sha256": {"config.py": entry_of(run.config).sha256}})
    env = read_json(run.env)
    env["attempts"][-1] |= {
        "command": ["/opt/c2d/job.py", str(run.path), "--data", f"{tmp_path}/data"],
        "environment": {"C2D_DATA": f"{tmp_path}/data", "SLURM_JOB_ACCOUNT": "physics", "SLURM_NTASKS": "1"},
    }
    env["attempts"][-1]["machine"]["host"] = "gpu-login-3"
    atomic_write_json(run.env, env)
    atomic_write_json(run.status, {**read_json(run.status), "host": "gpu-login-3", "pid": 77})
    run.attempts.write_text(json.dumps({"reason": f"killed pid 77 on gpu-login-3 in {run.path}/log.txt"}) + "\n{cut")
    return store


def test_an_export_without_places_has_none_and_keeps_what_identifies_the_run(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_runs(ExportRequest(store, out, [STUDENT], places=False), lambda line: None)
    for path in out.rglob("*"):
        if path.suffix in (".json", ".jsonl", ".py", ".txt"):
            content = path.read_text()
            assert not [place for place in (str(tmp_path), "gpu-login-3", "physics", "/opt") if place in content], path
    run, before = RunFolder(out / STUDENT), RunFolder(store / STUDENT)
    attempt, old = read_json(run.env)["attempts"][-1], read_json(before.env)["attempts"][-1]
    assert attempt["command"] == ["$PLACE/job.py", f"$RUNS/{STUDENT}", "--data", "$DATA"]
    assert attempt["environment"] == {"C2D_DATA": "$DATA", "SLURM_JOB_ACCOUNT": "$CLUSTER", "SLURM_NTASKS": "1"}
    assert {key: attempt[key] for key in ("git", "packages", "python")} == {
        key: old[key] for key in ("git", "packages", "python")
    }
    assert read_json(run.status)["pid"] is None
    assert json.loads(run.attempts.read_text()) == {"reason": f"killed pid - on {attempt['machine']['host']} in $RUNS/"
                                                    f"{STUDENT}/log.txt"}  # fmt: skip
    assert run.spec.read_bytes() == before.spec.read_bytes()
    assert run.student.read_bytes() == before.student.read_bytes()
    assert run.config.read_text().endswith("data_root = '$DATA/scenes'\n")
    assert read_json(run.result) == {**read_json(before.result), "sha256": {"config.py": entry_of(run.config).sha256}}


def test_a_place_in_a_file_that_may_not_change_is_refused_by_file_and_key(store: Path, tmp_path: Path) -> None:
    weights = store / STUDENT / "student.pth"
    weights.write_bytes(weights.read_bytes() + f" {store}/secret.pth ".encode())
    with pytest.raises(InputError, match=rf"{STUDENT}/student\.pth: its content has '{store}'"):
        export_runs(ExportRequest(store, tmp_path / "out", [STUDENT], places=False), lambda line: None)
    assert not [path for path in os.listdir(tmp_path) if "out" in path]
