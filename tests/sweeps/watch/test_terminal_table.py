"""The table on a terminal: from a literal state, at every size, without colours or Unicode, with hostile names."""

from __future__ import annotations

import io
import os
import re
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from sweeps.watch.column_fit import Column, allot_lines, fit_columns
from sweeps.watch.terminal_signs import PLAIN, UNICODE, Signs
from sweeps.watch.terminal_table import WatchTable, table_lines
from sweeps.watch.watch_view import WaitingGroup, WatchView
from tests.sweeps.watch.watch_examples import DONE, HOSTILE, NOW, RUNNING, STALE, many, sweep, view


@pytest.fixture(autouse=True)
def utc() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "UTC"
    time.tzset()
    yield
    os.environ.pop("TZ") if before is None else os.environ.update(TZ=before)
    time.tzset()


def lines(shown: WatchView, width: int = 80, height: int = 100, signs: Signs = UNICODE, now: float = NOW) -> list[str]:
    return [line.plain.rstrip() for line in table_lines(shown, width, height, signs, now)]


def test_eighty_columns_by_hand() -> None:
    assert lines(view()) == [
        "c2d sweep watch  08:00:00, every 5 s, Ctrl-C ends",
        "lr: At which rate?",
        "216 runs: 212 waiting, 1 running, 2 done, 1 failed",
        "0.36 of about 43.2 GPU hours, 0.01 wasted; 2 h 0 min left",
        # Each state has a sign at least; 212 of 216 of 80 signs are 78.5.
        "█×▒" + "░" * 77,
        "  method / lr        seed iteration loss curve loss AP/top-1      left     GPU h",
        "▶ c2d / 0.01         0      300/450 █▇▆▅▄▃▂▁   1.00    ~25.1     3 min 0.10/0.15",
        "✗ c2d / 1e30         0        7/450 nan: loss is nan (from loss_cls)",
        "✓ baseline / 0.01 (… 1      450/450 ▄▄         5.00     35.9 2 min ago      0.20",
        "✓ teacher resnet18-…          20/20               -     99.5   1 h ago      0.05",
        "  212 waiting: pending (Priority), the first expected to start at 08:01",
        "",
    ]


def test_plain_signs_are_ascii() -> None:
    text = "\n".join(lines(view(sweep(running=(STALE,))), 160, signs=PLAIN))
    assert text.isascii()
    assert "? fgd / 0.01" in text
    assert "#%*+=-._" in text
    assert "silent 6 min" in text
    assert "#x>..." in text


@given(st.integers(20, 200), st.integers(4, 60), st.sampled_from([UNICODE, PLAIN]), st.integers(1, 3))
def test_no_line_is_too_long_and_no_screen_too_short(width: int, height: int, signs: Signs, sweeps: int) -> None:
    shown = view(*[replace(many(), name=f"s{k}", warnings=("w" * 300,) * 5) for k in range(sweeps)])
    found = table_lines(shown, width, height, signs, NOW)
    assert len(found) <= height
    assert all(line.cell_len <= width for line in found)


def test_of_300_runs_each_state_is_seen_and_the_others_are_counted() -> None:
    found = lines(view(many(300)), 100, 24)
    assert len(found) == 24
    assert sum(line.startswith("▶") for line in found) == 10
    assert "  and 90 more running" in found
    assert sum(line.startswith("✗") for line in found) == 2
    assert "  and 48 more failed" in found
    assert "  and 149 more done" in found
    assert found[-2].startswith("  212 waiting: pending (Priority)")
    assert sum("more" not in line for line in lines(view(many(300)), 100, 10_000)) > 200


def test_old_data_have_their_age() -> None:
    assert lines(view(), now=NOW + 10)[0] == "c2d sweep watch  08:00:00, every 5 s, Ctrl-C ends"
    assert lines(view(), now=NOW + 90)[0] == "c2d sweep watch  08:00:00, 2 min old, every 5 s, Ctrl-C ends"
    assert lines(view(every_s=0), now=NOW + 90)[0] == "c2d sweep watch  08:00:00"
    assert lines(replace(view(), problem="disk gone"))[1] == "warning: disk gone"


def test_what_ended_what_is_blocked_and_what_nothing_is_known_of() -> None:
    groups = (WaitingGroup("blocked", 3, "blocked by t (oom)"), *[WaitingGroup("new", 1, f"r{k}") for k in range(4)])
    ended = sweep(is_at_rest=True, waiting=groups, hours_expected=0.36, unit="hours", warnings=("a", "b", "c", "d"))
    found = lines(view(ended), 120)
    assert "216 runs: 212 waiting, 1 running, 2 done, 1 failed; 0.36 hours, 0.01 wasted; nothing runs or waits" in found
    assert found[4:8] == ["warning: a", "warning: b", "warning: c", "and 1 more warnings"]
    assert found[-5:-1] == [
        "  3 blocked: blocked by t (oom)",
        "  1 new: r0",
        "  1 new: r1",
        "  and 2 more for 2 other reasons",
    ]
    assert lines(view(sweep(is_at_rest=True, counts={"done": 1})), 120)[2].endswith("wasted; ended")
    empty = sweep(counts={}, running=(), failed=(), done=(), waiting=(), left_s=None, hours_expected=None)
    assert lines(view(empty))[2] == "no runs; 0.36 GPU hours, 0.01 wasted; time left unknown"


def test_an_end_in_the_future_was_now() -> None:
    """Clocks of nodes differ."""
    found = lines(view(sweep(running=(), failed=(), done=(replace(DONE, ended=NOW + 99),), counts={"done": 1})))
    assert any("0 s ago" in line for line in found)


def test_hostile_names_are_texts() -> None:
    row = replace(RUNNING, labels=(HOSTILE,), place="[red]x[/red]")
    file = io.StringIO()
    console = Console(width=120, file=file, force_terminal=True, color_system="standard", highlight=False)
    console.print(WatchTable(view(sweep(name="[bold]n", axes=("[u]a",), running=(row,)))))
    text = file.getvalue()
    assert "[bold]n" in text
    assert HOSTILE[:20] in text
    assert "[u]a" in text


@pytest.mark.parametrize(("encoding", "sign"), [("utf-8", "▶ c2d"), ("ascii", "> c2d"), ("latin-1", "> c2d")])
def test_a_terminal_gets_what_it_can_show(encoding: str, sign: str) -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
    Console(width=100, file=file, no_color=True, force_terminal=True, highlight=False).print(WatchTable(view()))
    file.flush()
    assert sign in re.sub(r"\x1b\[[0-9;]*m", "", file.buffer.getvalue().decode(encoding))
    assert b"\x1b[3" not in file.buffer.getvalue(), "no colours"


def test_columns_by_rank() -> None:
    columns = [Column("a", "", 4, 9, 0), Column("b", "", 3, 3, 2), Column("c", "", 3, 5, 1)]

    def widths(width: int) -> dict[str, int]:
        return {column.key: size for column, size in fit_columns(columns, width)}

    assert widths(3) == {"a": 4}
    assert widths(8) == {"a": 4, "c": 3}
    assert widths(11) == {"a": 7, "c": 3}
    assert widths(12) == {"a": 4, "b": 3, "c": 3}
    assert widths(99) == {"a": 9, "b": 3, "c": 5}


@given(st.lists(st.integers(0, 50), min_size=3, max_size=3), st.integers(-2, 100))
def test_lines_are_given_once(wanted: list[int], count: int) -> None:
    given_lines = allot_lines(wanted, ((2, 1, 0), (4, 3, 2)), count)
    assert sum(given_lines) == min(sum(wanted), max(0, count))
    assert all(0 <= one <= most for one, most in zip(given_lines, wanted, strict=True))
