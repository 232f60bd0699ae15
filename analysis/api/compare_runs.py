"""`compare`: two checkpoints on the same images, by the function that `c2d compare` calls."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.api.runs_frame import NEEDED_BY, STORE
from c2d.core.errors import InputError

if TYPE_CHECKING:
    from analysis.comparison.comparison import Comparison

RESAMPLES = 1000


def compare(
    a: Any,
    b: Any,
    *,
    targets: str | os.PathLike[str] | None = None,
    runs: str | os.PathLike[str] | None = None,
    iou: float = 0.5,
    score: float | None = None,
    samples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare two checkpoints on the same images, b - a, with intervals by a paired bootstrap over the images.

    The intervals say what other images would change. What another seed would change is in `table`, which needs several
    runs a row.

    Args:
        a: a row of the frame of `load` (`runs.loc[3]`), a run folder, the id of a run or its beginning, or a file of
            detections (COCO results, .json or .json.gz).
        b: the other one, likewise.
        targets: COCO ground truth of files of detections.
        runs: the store of ids (default: C2D_RUNS, else ./runs).
        iou: IoU from which an object is found, and of TIDE, 0.1 to 1.
        score: detections of a lower score do not count for flipped objects (default: for each side the score with its
            largest F1).
        samples: resamples of the images, 100 to 100,000.
        seed: of the resamples; the same seed gives the same numbers.

    Returns:
        `overall`, `per_class`, `per_size` and `tide` with a difference, an interval and a p each (0-1), `flipped`
        objects and `changed` images. `verdict` is one sentence, `text()` the whole, `to_json()` all numbers; a notebook
        shows the text.

    Raises:
        InputError: no such run or file; runs of different data sets or without detections; files without ground truth,
            or that do not fit it; fewer than 8 images; a number outside its range.
    """
    from analysis.commands.extra_packages import check_extra

    check_extra(NEEDED_BY)
    import analysis.comparison.compare

    return analysis.comparison.compare.compare(
        _side(a), _side(b), targets=None if targets is None else Path(targets),
        runs=None if runs is None else Path(runs), iou=iou, score=score, samples=samples, seed=seed,
    )  # fmt: skip


def _side(given: Any) -> str | Path:
    """A path or id; of a row of the frame the folder of its run.

    Raises:
        InputError: it is something else, e.g. several rows.
    """
    if isinstance(given, str):
        return given
    if isinstance(given, os.PathLike):
        return Path(given)
    try:
        store, run = given[STORE], given["run"]
    except (TypeError, KeyError, IndexError):
        store = run = None
    if not isinstance(store, str) or not isinstance(run, str):
        raise InputError(
            f"a side of the comparison is {type(given).__name__}; give one row of the frame (`runs.iloc[0]`), a run "
            "folder, an id, or a file of detections"
        )
    return Path(store) / run
