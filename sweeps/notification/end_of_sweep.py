"""Send the one message of a sweep that has ended: `python -m sweeps.notification.end_of_sweep STORE SWEEP ...`.

The message belongs to the launches of all runs of the sweep: a file of the store, created by exactly one process, marks
it as sent, and a later launch of any run makes another one.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from c2d.core.errors import Busy, RunError
from sweeps.definition.profile import Profile
from sweeps.notification.end_job import NOTIFY_VARIABLE, message_mark
from sweeps.notification.watch_mark import is_watched
from sweeps.scheduler import slurm_command
from sweeps.state.manifest import load_manifest
from sweeps.state.plan import read_plan
from sweeps.state.status import Summary, summarize
from sweeps.state.status_table import has_ended

COMMAND_LIMIT_S = 300.0
PATIENCE_S = 420.0
"""Files of jobs that have just ended may be late, and a watching process may have been killed."""
POLL_S = 10.0
PrintLine = Callable[[str], None]


def read_summary(runs: Path, sweep: str) -> Summary:
    """Return the numbers of a sweep as `c2d sweep status` shows them."""
    rows, facts = read_plan(load_manifest(runs, sweep), runs)
    return summarize(rows, facts, time.time(), sweep)


def is_at_rest(summary: Summary) -> bool:
    """Return whether nothing runs or waits; a failure that only a watching process would retry is an end as well."""
    return has_ended({**summary, "retries": 0})


def claim_message(runs: Path, sweep: str) -> Path | None:
    """Create the mark of the message and return its path; None where another process has created it.

    Args:
        runs: the store.
        sweep: its name.
    """
    mark = message_mark(runs, sweep)
    mark.parent.mkdir(parents=True, exist_ok=True)
    try:
        # O_EXCL: of several processes, on any host, one creates the file.
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    except FileExistsError:
        return None
    return mark


def run_command(command: str, runs: Path, summary: Summary, question: str, print_line: PrintLine) -> int:
    """Run the profile's command with the numbers of a sweep as variables; return its exit code.

    Args:
        command: shell code of the profile. What a sweep is called reaches it by variables alone.
        runs: the store.
        question: of the sweep.
    """
    variables = message_variables(runs, summary, question)
    try:
        done = subprocess.run(
            ["bash", "-c", command], env={**os.environ, **variables}, stdin=subprocess.DEVNULL, timeout=COMMAND_LIMIT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        print_line(f"warning: the profile's command `notify` failed: {error}")
        return 1
    if done.returncode:
        print_line(f"warning: the profile's command `notify` ended with exit code {done.returncode}")
    return done.returncode


def message_variables(runs: Path, summary: Summary, question: str) -> dict[str, str]:
    """Return C2D_SWEEP, C2D_QUESTION, C2D_RUNS, C2D_SUMMARY, and C2D_DONE, C2D_FAILED, C2D_BLOCKED, C2D_OTHER."""
    counts: Mapping[str, int] = summary["counts"]
    shown = {state: counts.get(state, 0) for state in ("done", "failed", "blocked")}
    shown["other"] = len(summary["runs"]) - sum(shown.values())
    text = ", ".join(f"{count} {state}" for state, count in counts.items())
    facts = {
        "SWEEP": summary["sweep"],
        "QUESTION": question,
        "RUNS": str(runs),
        "SUMMARY": f"{summary['sweep']}: {text}",
    }
    facts |= {state.upper(): str(count) for state, count in shown.items()}
    return {f"C2D_{key}": str(value).replace("\0", "") for key, value in facts.items()}


def send_message(runs: Path, sweep: str, notify: str | None, mail: str | None, print_line: PrintLine) -> bool:
    """Send the message of a sweep unless it was sent; return whether this call sent it.

    Args:
        runs: the store.
        sweep: its name.
        notify: shell command, or None.
        mail: address, or None. The mail is that of the end of this job, so it needs one.
    """
    summary = {**read_summary(runs, sweep), "sweep": sweep}
    mark = claim_message(runs, sweep)
    if mark is None:
        print_line(f"the message about {sweep} was sent already")
        return False
    if notify:
        question = str(load_manifest(runs, sweep)["question"])
        code = run_command(notify, runs, summary, question, print_line)
        with suppress(OSError):
            mark.write_text(json.dumps({"host": socket.gethostname(), "exit_code": code}) + "\n")
    if mail and (job := os.environ.get("SLURM_JOB_ID")):
        name = message_variables(runs, summary, "")["C2D_SUMMARY"].replace(": ", "-ended:").replace(", ", ",")
        words = ["update", f"JobId={job}", f"MailUser={mail}", "MailType=END", f"Name={name.replace(' ', '_')}"]
        code, error = slurm_command.scontrol(words)
        if code:
            print_line(f"warning: SLURM refused the mail: {error.strip()}")
    return True


def send_after_local(runs: Path, sweep: str, profile: Profile, print_line: PrintLine) -> None:
    """Run the profile's command where a local launcher has brought a sweep to its end. A mail needs SLURM.

    Args:
        runs: the store.
        sweep: its name.
    """
    if profile.notify and is_at_rest(read_summary(runs, sweep)):
        send_message(runs, sweep, profile.notify, None, print_line)


def wait_and_send(
    runs: Path, sweep: str, notify: str | None, mail: str | None, print_line: PrintLine,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:  # fmt: skip
    """Send the message once the sweep is at rest and not watched; give up after PATIENCE_S seconds.

    A sweep that is not at rest then has new jobs, and another end job after them; one that is watched gets a new end
    job from the process that watches it.

    Args:
        runs, sweep, notify, mail: see `send_message`.
        sleep: replaced in tests.
    """
    waited = 0.0
    while True:
        with suppress(RunError, Busy):
            if is_at_rest(read_summary(runs, sweep)) and not is_watched(runs, sweep, time.time()):
                return send_message(runs, sweep, notify, mail, print_line)
        if waited >= PATIENCE_S:
            print_line(f"{sweep} has not ended, or is watched: no message from this job")
            return False
        sleep(POLL_S)
        waited += POLL_S


def main(arguments: list[str]) -> None:
    """Send the message about a sweep from its end job."""
    parser = argparse.ArgumentParser(prog="python -m sweeps.notification.end_of_sweep")
    parser.add_argument("runs", type=Path)
    parser.add_argument("sweep")
    parser.add_argument("--mail")
    given = parser.parse_args(arguments)
    wait_and_send(
        given.runs, given.sweep, os.environ.get(NOTIFY_VARIABLE), given.mail, lambda line: print(line, flush=True)
    )


if __name__ == "__main__":
    main(sys.argv[1:])
