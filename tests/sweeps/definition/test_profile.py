"""Profiles: shipped ones by name, others by path, and the one that a sweep was submitted with."""

from __future__ import annotations

from pathlib import Path

import pytest

from c2d.core.errors import InputError
from sweeps.definition.profile import Hours, Profile, load_profile, profile_names, store_profile, stored_profile


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
    ],
)
def test_errors_of_a_profile(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
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
