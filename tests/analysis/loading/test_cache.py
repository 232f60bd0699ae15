"""The warm cache: quick, safe to lose, and never a reason to see something else than what the files hold."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.loading import cache
from analysis.loading.cache import Cache
from analysis.loading.load import read_study
from analysis.loading.schema import Study
from benchmarks.suite import synthetic_run
from benchmarks.suite.synthetic_run import write_json
from benchmarks.suite.synthetic_store import make_large_store, make_store
from c2d.core import json_values, regular_file

NOW = 1_795_207_551.0
METHODS = {"method": ["baseline", "c2d"]}


def _age(path: Path, seconds: float = 60) -> None:
    """Make files look as if they had been written so long ago; the files of a minute ago are settled."""
    for file in [path, *path.rglob("*")]:
        when = time.time_ns() - int(seconds * 1e9)
        os.utime(file, ns=(when, when))


def _same(one: Study, other: Study) -> bool:
    pd.testing.assert_frame_equal(one.frame, other.frame, check_exact=True)
    return one.problems == other.problems and one.sweeps == other.sweeps


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read."""
    names: list[str] = []
    real = regular_file.read_bytes

    def spy(path: Path, last: int | None = None, most: int | None = None) -> bytes:
        names.append(path.name)
        return real(path, last, most)

    monkeypatch.setattr(regular_file, "read_bytes", spy)
    monkeypatch.setattr(json_values, "read_bytes", spy)
    return names


def test_a_warm_read_opens_no_file_of_a_run(tmp_path: Path, opened: list[str]) -> None:
    runs, place = tmp_path / "runs", tmp_path / "cache"
    make_store(runs, METHODS, seeds=15, state=lambda labels, seed: "running" if seed == 3 else "done")
    _age(runs)
    cold = read_study(runs, cache=place, now=NOW)
    assert len(opened) == 31 * 3 + 29 + 1  # spec, status, env; the results of those that are done; the record
    opened.clear()
    warm = read_study(runs, cache=place, now=NOW)
    assert opened == ["made.json"]
    assert _same(cold, warm)
    assert [path.parent for path in tmp_path.rglob("store-*")] == [place]
    # What depends on the clock is not remembered.
    assert read_study(runs, cache=place, now=NOW + 400).frame["state"].value_counts()["stale"] == 2
    assert opened == ["made.json"] * 2


def test_a_file_of_this_moment_is_read_again(tmp_path: Path, opened: list[str]) -> None:
    runs = tmp_path / "runs"
    record = make_store(runs, METHODS, seeds=1)
    _age(runs)
    status = runs / record["cells"][0]["run"] / "status.json"
    os.utime(status)
    for _ in range(2):
        opened.clear()
        read_study(runs, cache=tmp_path / "cache", now=NOW)
    assert opened == ["made.json", "status.json"]


def test_named_sweeps_leave_the_rest_of_the_cache_alone(tmp_path: Path, opened: list[str]) -> None:
    runs = tmp_path / "runs"
    record = make_store(runs, METHODS, seeds=1)
    write_json(runs / "sweeps" / "half.json", {**record, "name": "half", "cells": record["cells"][:1]})
    _age(runs)
    read_study(runs, cache=tmp_path / "cache")
    shutil.rmtree(runs / record["cells"][1]["run"])
    read_study(runs, ["half"], cache=tmp_path / "cache")
    opened.clear()
    read_study(runs, ["half"], cache=tmp_path / "cache")
    assert opened == ["half.json"]
    (path,) = (tmp_path / "cache").iterdir()
    kept = json.loads(path.read_bytes().partition(b"\n")[2])
    assert {key.partition("/")[0] for key in kept} == {record["cells"][0]["run"], record["teachers"][0]}


def _garble(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def _header(**changes: Any) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        first, _, body = path.read_bytes().partition(b"\n")
        path.write_bytes(json.dumps({**json.loads(first), **changes}).encode() + b"\n" + body)

    return change


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "damage",
    [
        _garble,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\xff\x00"),
        lambda path: path.write_bytes(b"[" * 100_000),
        lambda path: path.write_bytes(b"{}\n[]"),
        lambda path: path.write_bytes(path.read_bytes()[:-40]),
        _header(schema=cache.SCHEMA + 1),
        _header(version="0.0.0"),
        _header(code="other"),
        _header(store="/elsewhere"),
        _folder,
    ],
)
def test_a_damaged_or_foreign_cache_is_as_good_as_none(
    tmp_path: Path, damage: Callable[[Path], None], opened: list[str]
) -> None:
    runs, place = tmp_path / "runs", tmp_path / "cache"
    make_store(runs, METHODS, seeds=1)
    _age(runs)
    cold = read_study(runs, cache=place, now=NOW)
    (path,) = place.iterdir()
    damage(path)
    opened.clear()
    assert _same(read_study(runs, cache=place, now=NOW), cold)
    assert len(opened) == 13
    assert list(place.iterdir()) == [path]  # nothing half-written is left


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_store(tmp_path / "runs", METHODS, seeds=1)
    _age(tmp_path / "runs")
    (tmp_path / "file").write_text("")
    assert len(read_study(tmp_path / "runs", cache=tmp_path / "file" / "cache").frame) == 3

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert len(read_study(tmp_path / "runs", cache=tmp_path / "cache").frame) == 3
    assert list((tmp_path / "cache").iterdir()) == []


def test_where_it_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("C2D_CACHE", raising=False)
    assert cache.cache_folder() == tmp_path / "home" / ".cache" / "c2d"
    monkeypatch.setenv("C2D_CACHE", str(tmp_path / "elsewhere"))
    assert cache.cache_folder() == tmp_path / "elsewhere"
    assert cache.cache_folder(tmp_path / "given") == tmp_path / "given"
    make_store(tmp_path / "runs", METHODS, seeds=1)
    _age(tmp_path / "runs")
    read_study(tmp_path / "runs")
    assert len(list((tmp_path / "elsewhere").iterdir())) == 1


def test_two_readers_at_once_leave_a_whole_cache(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    runs, place = tmp_path / "runs", tmp_path / "cache"
    make_store(runs, METHODS, seeds=3)
    _age(runs)
    with ThreadPoolExecutor(4) as pool:
        studies = list(pool.map(lambda _: read_study(runs, cache=place, now=NOW), range(8)))
    assert all(_same(study, studies[0]) for study in studies)
    assert len(list(place.iterdir())) == 1
    assert len(cache.load_cache(place, runs).entries) == 4 * 7


def test_entries_count_only_in_the_state_they_were_read_in() -> None:
    kept, old = Cache(), time.time_ns() - 10 * cache.SETTLED_NS
    kept.put("a/spec.json", (10, old, old, 1), {"seed": 0})
    assert kept.get("a/spec.json", (10, old, old, 1)) == {"seed": 0}
    others = [(11, old, old, 1), (10, old + 1, old, 1), (10, old, old + 1, 1), (10, old, old, 2)]
    assert [kept.get("a/spec.json", state) for state in others] == [None] * 4
    kept.put("a/spec.json", (10, time.time_ns(), old, 1), {"seed": 1})
    assert kept.entries == {}


_ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["touch", "replace", "overwrite", "delete", "damage", "state", "remove", "restore", "cache"]),
        st.integers(0, 99),
        st.booleans(),
    ),
    max_size=6,
)


@settings(max_examples=50, deadline=None)
@given(_ACTIONS)
def test_warm_is_cold_after_any_changes(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, int, bool]]
) -> None:
    place = tmp_path_factory.mktemp("changes")
    runs = place / "runs"
    make_store(runs, METHODS, seeds=1)
    shutil.copytree(runs, place / "kept")
    _age(runs)
    for action, pick, read_after in actions:
        files = sorted(path for path in runs.glob("*/*.json"))
        path = files[pick % len(files)]
        if action == "touch":
            os.utime(path, ns=(0, pick * 10**9))
        elif action == "replace":
            write_json(path.with_name("new"), {"format": 1, "pick": pick})
            os.replace(path.with_name("new"), path)
        elif action == "overwrite":  # in place, at once, and of the same length
            raw = path.read_bytes()
            path.write_bytes(raw.replace(b"1", str(pick % 10).encode()))
        elif action == "delete" and path.parent.name != "sweeps":
            path.unlink()
        elif action == "damage" and path.parent.name != "sweeps":
            path.write_bytes(random.Random(pick).randbytes(pick))
        elif action == "state" and (path.parent / "status.json").exists():
            write_json(
                path.parent / "status.json",
                synthetic_run.status_json(["running", "failed", "done", "waiting"][pick % 4]),
            )
        elif action == "remove" and path.parent.name != "sweeps":
            shutil.rmtree(path.parent)
        elif action == "restore":
            shutil.rmtree(runs)
            shutil.copytree(place / "kept", runs)
        elif action == "cache":
            shutil.rmtree(place / "cache", ignore_errors=True)
        if read_after:
            read_study(runs, cache=place / "cache", now=NOW)
    warm = read_study(runs, cache=place / "cache", now=NOW)
    cold = read_study(runs, cache=place / f"none{len(actions)}", now=NOW)
    assert _same(warm, cold)


@pytest.mark.slow
def test_a_thousand_runs(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    make_large_store(runs, 1000)
    _age(runs)
    sizes = sorted(path.stat().st_size for path in runs.glob("student-*/result.json"))
    took = []
    for _ in range(3):
        begun, cpu = time.monotonic(), time.process_time()
        study = read_study(runs, cache=tmp_path / "cache")
        took.append((time.monotonic() - begun, time.process_time() - cpu))
    kept = sum(path.stat().st_size for path in (tmp_path / "cache").iterdir())
    print(
        f"\n{len(study.frame)} rows, result.json {sizes[len(sizes) // 2] / 1e3:.0f} kB, "
        f"cold {took[0][0]:.2f} s (CPU {took[0][1]:.2f}), warm {took[1][0]:.2f} and {took[2][0]:.2f} s "
        f"(CPU {took[1][1]:.2f}), cache {kept / 1e6:.1f} MB"
    )
    assert (study.frame["state"] == "done").sum() == 1001
    assert took[0][0] < 20
    assert took[2][0] < 4
