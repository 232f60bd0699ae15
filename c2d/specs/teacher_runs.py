"""The teachers of a run, and the synthesis whose images it uses: finished runs of the same store."""

from __future__ import annotations

from typing import Any

from c2d.core.archives.remade_run import missing_weights_error
from c2d.core.errors import InputError
from c2d.core.json_values import check_format, items, number, text
from c2d.core.regular_file import FormatError, is_file
from c2d.core.run_folder import RunFolder, read_json
from c2d.specs.spec import RunSpec, parse_spec


def teacher_run(run_id: str, student: RunFolder) -> RunFolder:
    """Return the folder of a teacher, which lies in the same store as its student.

    Args:
        run_id: the teacher's whole id, as in the student's spec.
        student: the student's run folder.

    Raises:
        InputError: the store has no such run.
    """
    run = RunFolder(student.path.parent / run_id)
    if not is_file(run.spec):
        raise InputError(
            f"teacher {run_id} is not in {student.path.parent}/; train it there first, or name its store with --runs"
        )
    return run


def teacher_result(run: RunFolder, kind: str) -> tuple[RunSpec, dict[str, Any]]:
    """Read spec and result of a finished teacher.

    Args:
        run: the teacher's run folder.
        kind: classifier, detector or impressions.

    Raises:
        InputError: the run is of another kind, has not finished, or is here without its weights.
    """
    spec = parse_spec(read_json(run.spec), str(run.spec))
    if spec.kind != kind:
        raise InputError(wrong_kind(run.id, spec.kind, kind))
    if run.read_status()["state"] != "done":
        what = "run" if kind == "impressions" else "teacher"
        raise InputError(f"{what} {run.id} is {run.read_status()['state']}; finish it first: c2d train {run.path}")
    result = read_json(run.result)
    try:
        check_format(result)
        number(result.get("top1"), "top1", 0, 1)
        for name in items(result.get("classes") or [], "classes"):
            text(name, "a name of classes")
    except FormatError as error:
        raise InputError(
            f"{run.result} cannot be used: {error}; remove it and call c2d train {run.path}: it is written again"
        ) from None
    if not run.can_teach:
        raise missing_weights_error(run)
    return spec, result


def wrong_kind(run_id: str, kind: str, wanted: str) -> str:
    """Return the message for a run of another kind than `wanted` in its place."""
    if wanted == "impressions":
        return f"run {run_id} is a {kind}, a run of kind impressions is wanted (c2d impressions make)"
    made = "of kind impressions" if kind == "impressions" else f"a {kind}"
    return f"run {run_id} is {made}, a {wanted} teacher is wanted"
