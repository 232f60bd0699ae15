"""A finished run whose weights are not here, made again: the same run, whose result has to be the one it had.

An archive can be without weights. Their numbers are enough for a report, but a teacher has to have them.
"""

from __future__ import annotations

from typing import Any

from c2d.core.archives.result_differences import differences_text, result_differences
from c2d.core.errors import InputError, RunError
from c2d.core.run_folder import RunFolder, read_json

LOST = "its weights are not here (imported without them); made again"
_MARK = "is_remade"
"""Key of status.json while such a run is made again."""


def reopen(run: RunFolder) -> None:
    """Let the next attempt make a finished run again; its result stays, and the new one is compared with it.

    Raises:
        InputError: it is not finished, or has its weights.
    """
    if not run.is_done:
        raise InputError(f"run {run.id} is {run.read_status()['state']}; c2d train {run.path} continues it")
    if run.can_teach:
        raise InputError(f"run {run.id} has its weights here; there is nothing to make again")
    run.write_status("waiting", reason=LOST, iteration=None, **{_MARK: True})


def check_remade(run: RunFolder, result: dict[str, Any]) -> None:
    """Compare the result of a run that was made again with the one it had; nothing of any other run.

    Args:
        run: its folder; after a difference it has no weights, and its earlier result.json.
        result: what it found now.

    Raises:
        RunError: another number; the message has both.
    """
    status = run.read_status()
    if not status.get(_MARK) or not run.result.exists():
        return
    names = ("in its result.json", "now")
    if differ := result_differences(read_json(run.result), result, names):
        for path in (run.student, run.classifier):
            path.unlink(missing_ok=True)
        raise RunError(
            f"{run.id} was made again and has another result: {differences_text(differ)}; another CPU, GPU or version "
            "computes it. Its students would have two teachers: import its weights (an export without --no-weights), "
            f"or move {run.path} and the runs that it taught away, and submit them all again",
            "config",
        )
    run.write_status("running", **{_MARK: None})


def missing_weights_error(run: RunFolder) -> InputError:
    """Return the error for a finished run that cannot teach, because an archive was without its weights."""
    return InputError(
        f"teacher {run.id} is finished, and its weights are not here: import an archive that has them (c2d runs "
        f"import), or let it be made again: c2d runs reopen {run.id} --runs {run.path.parent}, then c2d train "
        f"{run.path}; c2d sweep submit of a sweep that has it does both"
    )
