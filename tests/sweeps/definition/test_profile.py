"""Profiles: shipped ones by name, others by path, and the one that a sweep was submitted with."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from c2d.core.errors import InputError
from sweeps.definition.profile import (
    Hours,
    Profile,
    Size,
    load_profile,
    profile_names,
    store_profile,
    stored_profile,
    tracked_by,
)


@pytest.mark.parametrize("name", profile_names())
def test_a_shipped_profile(name: str) -> None:
    assert load_profile(name).name == name


def test_the_variable_names_the_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("C2D_PROFILE", raising=False)
    assert load_profile(None).name == "default"
    file = tmp_path / "lab.yaml"
    file.write_text("gpus: 2\nhours: {small: 3}\n")
    monkeypatch.setenv("C2D_PROFILE", str(file))
    assert load_profile(None) == Profile(name="lab", gpus=2, hours=Hours(small=3))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gpsu: 2", "did you mean 'gpus'"),
        ("gpus: many", "gpus: .* valid integer"),
        ("hours: {small: 0}", r"hours\.small"),
        ("hours: {small: 4:00}", r"lab\.yaml:1: hours\.small: YAML reads 4:00 as 240"),
        ("hours: {small: '4:00'}", r"hours\.small: .*; write a plain number without quotes"),
        ("hours: {small: 4, small: 5}", r"hours\.small: is given twice"),
        ("sbatch: {begin: 22:00:00}", r"sbatch\.begin: YAML reads 22:00:00 as 79200; .*'22:00:00' in quotes"),
        ("account: 0123", "account: 0123 begins with 0, which YAML reads as octal; .*'0123' in quotes"),
        ("account: 123", r"account: .*valid string \(given 123\); put it in quotes"),
        ("cpus: '8'", r"cpus: .*; write a plain number without quotes"),
        ("gpus: true", r"gpus: .*; write a plain number without quotes"),
        ("download: yes", r"download: YAML reads yes as true"),
        ("download: 1", r"download: .*; write true or false without quotes"),
        ("mem_gb: 8\nsbatch: {mem-per-cpu: 4G}", "mem_gb and sbatch flag 'mem-per-cpu' exclude each other"),
        ("sbatch: {mem: 0, mem-per-gpu: 4G}", "sbatch flags mem and mem-per-gpu exclude each other"),
        ("hours: {small: 2}\nsbatch: {time: 90}", "given twice, as hours and as sbatch time"),
        ("sbatch: {time: UNLIMITED}", "sbatch time 'UNLIMITED' is no limit; write minutes"),
        ("sbatch: {ntasks: 4}", "sbatch flag 'ntasks' sets what the key `processes` sets"),
        ("sbatch: {--nodes: 2}", "sbatch flag 'nodes' sets what the key `nodes` sets"),
        ("sbatch: {gpus-per-node: 2}", "sbatch flag 'gpus-per-node' sets what the key `gpus` sets"),
        ("sbatch: {gres: 'gpu:2'}", "sbatch flag 'gres' sets what the key `gres` sets"),
        ("gpus: 2\ngres: gpu:a100:4", "has 4 GPUs a node and gpus is 2; give one of them"),
        ("qos: high\nsbatch: {qos: low}", "qos is given twice"),
        ("sbatch: {tasks-per-node: 2}", "sbatch flag 'tasks-per-node' sets what the key `processes` sets"),
        ("sbatch: {time: 60, --time: 70}", "sbatch flag 'time' is given twice, in two spellings"),
        ("sbatch: {mem_per_cpu: 1G, mem-per-cpu: 2G}", "sbatch flag 'mem-per-cpu' is given twice"),
        ("sbatch: {tres-per-task: 'cpu=4'}", "sbatch flag 'tres-per-task' sets what the key `cpus` sets"),
        ("sbatch: {time-min: soon}", "sbatch time 'soon' is no limit"),
        ("sbatch: {exclusive: null}", "sbatch flag 'exclusive' is None; write one line of text in quotes"),
        ("sbatch: {reservation: 1.50}", "sbatch flag 'reservation' is 1.5; write one line of text in quotes"),
        ('sbatch: {comment: "a\\nb"}', "sbatch flag 'comment' is .*; write one line of text"),
    ],
)
def test_errors_of_a_profile(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        load_profile(str(file))


@pytest.mark.parametrize(
    "key",
    [
        "array",
        "job-name",
        "job_name",
        "dependency",
        "requeue",
        "signal",
        "t",
        "-p",
        "--no-requeue",
        "test-only",
        "clusters",
        "no-kill",
        "help",
        "version",
    ],
)
def test_flags_that_the_launcher_sets_and_short_ones_are_refused(tmp_path: Path, key: str) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(f"sbatch: {{'{key}': x}}")
    with pytest.raises(
        InputError, match=f"'{key.strip('-').replace('_', '-')}' cannot be given; not allowed are array"
    ):
        load_profile(str(file))


@pytest.mark.parametrize(
    ("time", "hours"),
    [("90", 1.5), ("'01:00:00'", 1), ("'4:30'", 0.075), ("1-12", 36), ("'2-0:30'", 48.5), ("5-00", 120)],
)
def test_the_time_flag_is_the_limit_of_the_summary_too(tmp_path: Path, time: str, hours: float) -> None:
    """Also where it is longer than the default limit of a retry."""
    file = tmp_path / "lab.yaml"
    file.write_text(f"sbatch: {{time: {time}, reservation: cvpr}}")
    profile = load_profile(str(file))
    assert (profile.limit_min("small"), profile.limit_min("large")) == (max(1, round(60 * hours)),) * 2
    assert profile.sbatch == {"reservation": "cvpr"}
    store_profile(tmp_path, "demo", profile)
    assert stored_profile(tmp_path, "demo", "lab") == profile


@pytest.mark.parametrize(
    ("gres", "gpus"), [("gpu", 1), ("gpu:2", 2), ("gpu:a100:4,nvme:1", 4), ("shard:8", 0), ("gpu:h100:2(S:0)", 2)]
)
def test_the_gpus_of_gres_are_counted(tmp_path: Path, gres: str, gpus: int) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(f"gres: '{gres}'")
    assert load_profile(str(file)).gpus == gpus


def test_hours_are_not_cut_at_the_default_limit_of_retries(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text("hours: {large: 100}")
    assert load_profile(str(file)).limit_min("large") == 6000


def test_trackers_of_a_profile_and_of_the_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "lab.yaml"
    file.write_text("track: ['tensorboard:logs', wandb]")
    profile = load_profile(str(file))
    assert profile.track == [f"tensorboard:{tmp_path}/logs", "wandb"]  # a job starts in another folder
    store_profile(tmp_path, "demo", tracked_by(profile, ["mlflow"]))
    assert stored_profile(tmp_path, "demo", "lab").track == ["mlflow"]  # a retry keeps what --track named
    assert tracked_by(profile, None) == profile
    file.write_text("track: [wandv]")
    with pytest.raises(InputError, match="unknown tracker 'wandv'; did you mean 'wandb'"):
        load_profile(str(file))


def test_the_profile_of_a_submission_is_stored(tmp_path: Path) -> None:
    profile = Profile(name="lab", gpus=4)
    store_profile(tmp_path, "demo", profile)
    assert stored_profile(tmp_path, "demo", "lab") == profile
    assert stored_profile(tmp_path, "demo", "cpu") == load_profile("cpu")
    with pytest.raises(InputError, match="unknown profile 'lab2'"):
        stored_profile(tmp_path, "demo", "lab2")


def test_limits_are_whole_minutes_below_the_highest() -> None:
    profile = Profile(hours=Hours(small=0.001, large=100), max_hours=10)
    assert (profile.limit_min("small"), profile.limit_min("large"), profile.limit_min("small", 2)) == (1, 600, 120)


@pytest.mark.parametrize(
    ("keys", "size", "hours", "problem"),
    [
        ({}, "small", None, ""),
        ({"signal_delay_s": 299}, "small", 5 / 60, ""),
        ({"signal_delay_s": 300}, "small", 5 / 60, "300 is not shorter than the limit of 300 s (hours.small)"),
        ({"signal_delay_s": 14_400}, "small", None, "14400 is not shorter than the limit of 14400 s (hours.small)"),
        ({"signal_delay_s": 14_400}, "large", None, ""),
        ({"hours": Hours(large=0.001)}, "large", None, "120 is not shorter than the limit of 60 s (hours.large)"),
        ({"sbatch": {"time-min": "2"}}, "small", None, "120 is not shorter than the 120 s of sbatch time-min"),
        ({"sbatch": {"time_min": "00:10:00"}}, "small", None, ""),
    ],
)
def test_the_warning_has_to_come_after_the_start(keys: dict[str, Any], size: Size, hours: float, problem: str) -> None:
    found = Profile(name="lab", **keys).signal_problem(size, hours)
    assert problem in found
    assert bool(found) == bool(problem)
    assert "\n" not in found


BAD = ["\n", "\r", "\x0b", "\x0c", "\x85", "\u2028", "\u2029", "\0", "\x1b", "\u202e", "\u200b", "\ud800"]
FIELDS: list[dict[str, Any]] = [
    *({key: "a{}b"} for key in ("about", "partition", "account", "qos", "constraint", "gpu_type", "python", "tmp")),
    *({"stage_data": "/a{}b"}, {"gres": "gpu:1{}"}, {"name": "a{}b"}, {"name": "a{}"}),
    *({"setup": ["true", "module load x{}touch y"]}, {"environment": {"A": "b{}c"}}, {"environment": {"A{}B": "c"}}),
    *({"sbatch": {"reservation": "r{}#SBATCH --wrap=x"}}, {"sbatch": {"reser{}vation": "r"}}, {"srun": ["--x{}y"]}),
]


@pytest.mark.parametrize("field", FIELDS, ids=str)
def test_a_line_break_in_any_value_is_refused(tmp_path: Path, field: dict[str, Any]) -> None:
    file = tmp_path / "lab.yaml"
    for char in BAD:
        file.write_text(json.dumps(field).replace("{}", json.dumps(char)[1:-1]))
        with pytest.raises(InputError) as refused:
            load_profile(str(file))
        assert str(refused.value).isprintable(), ascii(char)


@pytest.mark.parametrize("name", ["..", "../x", "a/b", "", "é" * 101])
def test_the_name_of_a_profile_is_a_file_name(tmp_path: Path, name: str) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(json.dumps({"name": name}))
    with pytest.raises(InputError, match="is no file name"):
        load_profile(str(file))


@pytest.mark.parametrize(
    ("values", "private"),
    [
        ({"environment": {"A": "1"}}, False),
        ({"environment": {"WANDB_API_KEY": "abc"}}, True),
        ({"setup": ["export HF_TOKEN=abc"]}, True),
        ({"environment": {"PROXY": "http://me:word@host"}}, True),
    ],
)
def test_a_profile_with_a_secret_is_stored_for_its_owner_alone(tmp_path: Path, values: Any, private: bool) -> None:
    profile = Profile(name="lab", **values)
    store_profile(tmp_path, "s", profile)
    (stored,) = tmp_path.rglob("profile-lab.json")
    assert stat.S_IMODE(stored.stat().st_mode) == (0o600 if private else 0o644)
    assert stored_profile(tmp_path, "s", "lab") == profile


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"partition": "a\\n#SBATCH --wrap=x"}', '{"gpus": "x"}', '{"unknown": 1}']
)
def test_a_stored_profile_is_checked_too(tmp_path: Path, text: str) -> None:
    store_profile(tmp_path, "s", Profile(name="lab"))
    (stored,) = tmp_path.rglob("profile-lab.json")
    stored.write_text(text)
    with pytest.raises(InputError) as refused:
        stored_profile(tmp_path, "s", "lab")
    assert str(refused.value).isprintable()
