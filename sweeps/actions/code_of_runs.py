"""The code of a run's last launch: runs whose copy is missing or altered are launched on request only."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sweeps.launchers.launch_request import PrintLine
from sweeps.launchers.snapshot import snapshot_folder, take_snapshot
from sweeps.node.verify_snapshot import snapshot_problem
from sweeps.state.plan import Row


def rows_with_code(rows: Iterable[Row], runs: Path, print_line: PrintLine, *, started: bool) -> list[Row]:
    """Return the rows that can be launched with the code of their last launch, or have none.

    Left out, with a line each, are rows whose snapshot cannot be used and rows that wait for one of these.

    Args:
        rows: teachers before the students that need them.
        runs: the store.
        print_line: called with one line for each row that is left out.
        started: only a run that has an attempt is bound to its code.
    """
    problems: dict[str, str] = {}
    left_out: set[str] = set()
    kept = []
    for row in rows:
        code = row.job.snapshot if row.job is not None and (row.status.get("attempt") or not started) else ""
        if code and code not in problems:
            problems[code] = snapshot_problem(snapshot_folder(runs, code), code)
            if problems[code] and take_snapshot(runs) == code:  # it is the current code, and copied again
                problems[code] = ""
        waits = [need for need in row.needs if need in left_out]
        if code and problems[code]:
            print_line(
                f"{row.run.id}: not launched, its code cannot be used: {problems[code]}; "
                f"`retry --id {row.run.id} --update-code` launches it with the current code"
            )
        elif waits:
            print_line(f"{row.run.id}: not launched, it waits for {waits[0]}")
        else:
            kept.append(row)
            continue
        left_out.add(row.run.id)
    return kept
