"""Watching: from view to view until the end, through a store that is away, as a command, and into a pipe."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from c2d.core.errors import InputError
from sweeps.cli import app
from sweeps.notification.watch_mark import watched
from sweeps.watch.change_lines import change_lines
from sweeps.watch.watch_loop import WatchedSweeps, watch
from sweeps.watch.watch_view import WatchView
from tests.sweeps.watch.watch_examples import TinyStore, sweep, view


def shown(view: WatchView) -> list[str]:
    [sweep] = view.sweeps
    return [f"{row.labels[0]} {row.state} {row.iteration}" for row in (*sweep.running, *sweep.failed, *sweep.done)]


def test_a_sweep_is_watched_to_its_end(tmp_path: Path) -> None:
    store = TinyStore(tmp_path)
    store.write("a", "running", iteration=2)
    store.log("a", (1, 2.0), (2, 1.0))
    views: list[WatchView] = []

    def sleep(seconds: float) -> None:
        time.sleep(0.01)
        assert seconds == pytest.approx(30, abs=5)
        if len(views) == 1:
            store.write("a", "done", iteration=10)
            store.write("b", "running", iteration=0)
        elif len(views) == 2:
            shutil.rmtree(store.folder("a"))
            store.write("b", "failed", failure_class="oom", reason="oom: no memory")

    last = watch(WatchedSweeps(tmp_path, ["tiny"]), views.append, 30.0, sleep)
    assert [shown(view) for view in views] == [["a running 2"], ["b running 0", "a done 10"], ["b failed 5"]]
    assert [view.every_s for view in views] == [pytest.approx(30, abs=5)] * 2 + [0.0]
    assert last is views[-1]
    assert last.has_failed
    assert last.sweeps[0].counts == {"new": 2, "failed": 1}
    [row] = views[0].sweeps[0].running
    assert (row.losses, row.loss, row.step_s, row.left_s) == ((2.0, 1.0), 1.0, 2.0, 16.0)
    [row] = views[1].sweeps[0].done
    assert (row.score, row.is_final, row.loss) == (0.5, True, 1.0)
    lines = [re.sub(r"^[\d:]+ ", "", line) for line in change_lines(views[0], views[1])]
    assert lines[:2] == [
        "tiny: running b, seed 0 (tiny-b-0123456789ab-s0): iteration 0 of 10",
        "tiny: done a, seed 0 (tiny-a-0123456789ab-s0): AP 50.0",
    ]
    assert lines[2].startswith("tiny: 3 runs: 1 new, 1 running, 1 done; 0.06 of about 0.08 hours; ")
    assert len(lines) == 3
    assert change_lines(views[2], views[2]) == []


def test_a_new_warning_is_a_line_and_one_with_another_number_is_not() -> None:
    def told(*warnings: str) -> WatchView:
        return view(sweep(warnings=warnings))

    silent = "SLURM does not answer (timeout)"
    assert change_lines(told("3 runs wait"), told("4 runs wait")) == []
    [line] = change_lines(told("3 runs wait"), told("4 runs wait", silent))
    assert line.endswith(f" lr: warning: {silent}")


def test_a_store_that_is_away_leaves_the_view_before_it(tmp_path: Path) -> None:
    store = TinyStore(tmp_path / "runs")
    store.write("a", "running")
    manifest = store.runs / "sweeps" / "tiny.json"
    text = manifest.read_text()
    views: list[WatchView] = []

    def sleep(seconds: float) -> None:
        if len(views) == 1:
            manifest.write_text("{")
        elif len(views) == 2:
            manifest.write_text(text)
            store.write("a", "done")

    sweeps = WatchedSweeps(store.runs, ["tiny"])
    watch(sweeps, views.append, 1.0, sleep)
    assert [bool(view.problem) for view in views] == [False, True, False]
    assert views[1].sweeps == views[0].sweeps
    assert views[1].made == views[0].made, "the data are as old as they are"
    manifest.write_text("{")
    with pytest.raises(InputError, match="submit the sweep again"):
        watch(WatchedSweeps(store.runs, ["tiny"]), views.append, 1.0, sleep)


def test_a_failure_that_another_process_retries_is_no_end(tmp_path: Path) -> None:
    store = TinyStore(tmp_path)
    store.write("a", "failed")
    marked = [True, True, False]
    views: list[WatchView] = []
    watch(WatchedSweeps(tmp_path, ["tiny"], is_watched=lambda name: marked.pop(0)), views.append, 1.0, lambda s: None)
    assert [view.sweeps[0].is_at_rest for view in views] == [False, False, True]


def test_clocks_that_differ_are_no_negative_times(tmp_path: Path) -> None:
    store = TinyStore(tmp_path)
    store.write("a", "running", heartbeat="2090-01-01T00:00:00+00:00", begun=3.7e9)
    [sweep] = WatchedSweeps(tmp_path, ["tiny"]).read(1.8e9).sweeps
    [row] = sweep.running
    assert (row.heartbeat_age_s, row.is_stale, row.left_s) == (0.0, False, 100.0)
    assert "clocks differ" in row.reason
    assert sweep.left_s == 100 + 2 * 200, "the other two are as long as this one"


def run(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["watch", *words])
    assert result.exit_code == code, result.output + str(result.exception)
    return result.output


def test_the_command_once_and_with_a_page(tmp_path: Path) -> None:
    store = TinyStore(tmp_path)
    store.write("a", "running")
    given = ("tiny", "--runs", str(tmp_path))
    page = tmp_path / "watch.html"
    assert "▶ a" in run(*given, "--once", "--page", str(page))
    assert "running" in page.read_text()
    store.write("a", "failed", reason="oom: no memory", failure_class="oom")
    assert "no memory" in run(*given, "--once", code=1)
    assert "no memory" not in run(*given, "--once", "--filter", "method=b")
    # Into a pipe it is lines, then the table of the end.
    text = run(*given, "--filter", "method=b")
    assert "tiny: 1 runs: 1 new; 0.00 hours; nothing runs or waits" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none"], "unknown sweep"),
        (["tiny", "--filter", "method=z"], "label of axis method"),
        (["tiny", "--page", "x.txt"], "ends with .html"),
        (["tiny", "--page", "no/folder/x.html"], "make the folder first"),
    ],
)
def test_wrong_words_are_refused_before_anything_is_shown(tmp_path: Path, words: list[str], message: str) -> None:
    TinyStore(tmp_path)
    result = CliRunner().invoke(app, ["watch", *words, "--runs", str(tmp_path)])
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)
    assert result.output == ""


@pytest.mark.parametrize("seconds", ["inf", "nan", "1e10", "0"])
def test_an_interval_that_no_system_sleeps_is_refused(tmp_path: Path, seconds: str) -> None:
    TinyStore(tmp_path)
    result = CliRunner().invoke(app, ["watch", "tiny", "--runs", str(tmp_path), "--every", seconds])
    assert result.exit_code == 2
    assert "Invalid value for '--every'" in result.output


def test_on_a_terminal_ctrl_c_gives_the_screen_back(tmp_path: Path) -> None:
    """A process of its own, as a pseudo terminal belongs to one."""
    pexpect = pytest.importorskip("pexpect")
    store = TinyStore(tmp_path / "runs")
    store.write("a", "running")
    store.write("b", "done")
    page = tmp_path / "page.html"
    words = ["-m", "c2d", "sweep", "watch", "tiny", "--runs", str(store.runs), "--every", "1", "--page", str(page)]
    child = pexpect.spawn(
        sys.executable, words, dimensions=(20, 90),
        # COLUMNS, which a shell or a container may export, is not the size of the terminal.
        env={**os.environ, "TERM": "xterm", "PYTHONPATH": os.getcwd(), "COLUMNS": "90", "LINES": "20"},
        timeout=60, encoding="utf-8",
        # A shell starts its background processes, and so those of CI, with an ignored SIGINT, which children inherit.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    child.expect_exact("\x1b[?1049h")
    child.expect_exact("▶")
    assert "▶" not in (page.read_text() if page.exists() else "")
    child.setwinsize(20, 40)
    child.expect(r"c2d sweep watch[^\r\n]*…")
    child.sendintr()
    child.expect_exact("\x1b[?1049l")
    child.expect_exact("▶")
    child.expect_exact("interrupted")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130
    assert "It is not written any more" in page.read_text()


def test_the_mark_of_a_watching_process_is_that_of_status(tmp_path: Path) -> None:
    """`status --watch` and a submission in parts mark the sweep; the view goes on as long as they do."""
    store = TinyStore(tmp_path)
    store.write("a", "done")
    with watched(tmp_path, "tiny"):
        assert "nothing runs" not in run("tiny", "--runs", str(tmp_path), "--once")
    assert "nothing runs" in run("tiny", "--runs", str(tmp_path), "--once")
    assert json.loads((store.folder("a") / "status.json").read_text())["state"] == "done"
