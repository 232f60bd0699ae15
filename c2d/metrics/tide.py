"""Compute TIDE: how much AP each type of error costs (Bolya et al., "TIDE", ECCV 2020, arxiv.org/abs/2008.08115).

Every false positive at foreground threshold `iou` (0.5) gets one type, tested in this order, where "same" is its best
IoU with an object of its class, "other" with an object of another class, and 0.1 is the background threshold:

    Loc   0.1 <= same <= iou         right class, wrong location
    Cls   other >= iou               right location, wrong class
    Dupe  same > iou                 a detection with a higher score is matched to that object
    Bkg   other <= 0.1               on background
    Both  the rest                   wrong class and wrong location
    Miss  an object without a correct detection that no Loc or Cls error overlaps most (a false negative)

dAP is the AP at `iou` after fixing all errors of a type, minus the AP as it is. Fixing means: a Loc or Cls error
becomes correct (Cls: in the class of its object) if its object is unmatched and no Loc or Cls error of a higher score
belongs to the same object, otherwise it is removed; Dupe, Bkg and Both errors are removed; a missed object no longer
has to be found. FalsePos removes every false positive; after FalseNeg no unmatched object has to be found.

Why the parts do not sum, neither to 1 - AP nor to FalsePos + FalseNeg:
  - each type is fixed alone, from the same start; two fixed together are worth more or less than the two apart, because
    the precision at a correct detection depends on the errors of all types ahead of it in the list;
  - AP is interpolated: an error behind the last correct detection costs nothing, one at the head of the list much;
  - FalsePos removes the errors that Cls and Loc turn into correct detections, and FalseNeg also drops the objects that
    they would win back.
Values are raw. Fixing never lowers AP here; tidecv can find a small loss, since it reorders equal scores, and shows 0.
A class of which every object is missed keeps AP 0 under Miss and FalseNeg, for nothing is left to be found; the counts
show it, and with `per_class` a line in `warnings` names it.

Averages run over classes with ground truth, as in COCO (tidecv also counts classes that have detections only). Crowd
regions are no objects, and detections inside one that match nothing are left out. 100 detections per image and class
count. `background` stays 0.1 whatever `iou` is: with rising `iou` the Loc window grows, and Dupe and Cls shrink.

The size of an error is that of the object a Cls or Loc error belongs to, of the missed object for Miss and FalseNeg,
and of the detection for the others: small up to 32 x 32 px, medium up to 96 x 96 px, else large (annotation area for
objects, box area for detections). dAP of a size fixes the errors of that size only, against the AP of all sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from c2d.core.errors import InputError, abbreviate, unknown_name
from c2d.metrics import tide_errors
from c2d.metrics.coco_data import Array, CocoData, prepare
from c2d.metrics.matching import ranked_detections
from c2d.metrics.tide_errors import MAIN, SIZES, SPECIAL

ENGINES = ("fast", "reference", "own")
IOUS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
BACKGROUND = 0.1
VERSION = "1"  # of our own definition; a change that moves a number raises it
MANY_TIES = 0.1


class _Run(Protocol):
    """The numbers of one engine at one threshold; see `tide_errors.TideErrors`."""

    def aps(self, size: int | None = None) -> dict[str, Array]: ...
    def counts(self, size: int | None = None) -> Array: ...
    def native(self) -> dict[str, float] | None: ...


def evaluate(
    targets: Mapping[str, Any] | CocoData,
    detections: Sequence[Mapping[str, Any]] | None = None,
    engine: str = "fast",
    iou: float = 0.5,
    *,
    ious: Sequence[float] = (),
    per_class: bool = True,
    per_size: bool = True,
    background: float = BACKGROUND,
) -> dict[str, Any]:
    """Compute the TIDE errors; see the module for definitions and for why the parts do not sum.

    Args:
        targets: COCO ground truth, boxes alone are enough; or a `CocoData`.
        detections: COCO results list, may be empty.
        engine: `fast`: totals by hotcoco, everything finer by our own code, whose totals equal hotcoco's. `own`: all by
            our own code. `reference`: all by tidecv (slow, needs it installed).
        iou: foreground threshold.
        ious: thresholds at which totals are given as well (`IOUS` for the paper's error curves).
        per_class: give dAP and counts of each class; a class's dAP fixes the type in all classes and is measured on
            this one, so the mean over classes with ground truth is the total.
        per_size: give dAP and counts of each size.
        background: threshold below which a detection is on background.

    Returns:
        A dict that JSON can hold. `AP` at `iou`; `dAP` {Cls, Loc, Both, Dupe, Bkg, Miss, FalsePos, FalseNeg} in 0-1,
        raw; `counts` {Cls, ..., Miss}; `per_class` {name: {AP, dAP, counts}}, `per_size` {small, medium, large: {dAP,
        counts}}, `per_iou` {"0.50": {AP, dAP, counts}}, each None if not requested; `ties`: share of detections whose
        score equals that of another of their class; `warnings`: list of sentences; `engine`, `iou`, `background`,
        `images`, `boxes`, `crowds`, `detections`. AP and dAP are None without ground truth (a class's, without ground
        truth of that class). `reference` adds `native`: dAP as tidecv itself reports it, and has no FalsePos and
        FalseNeg per size, which tidecv does not define.

    Raises:
        InputError: see `c2d.metrics.coco_data.prepare`; unknown engine; thresholds outside 0 < background < iou < 1.
    """
    if engine not in ENGINES:
        raise unknown_name("engine", engine, ENGINES)
    for value in (iou, *ious):
        if not 0 < background < value < 1:
            raise InputError(f"thresholds iou={value}, background={background}: need 0 < background < iou < 1")
    data = prepare(targets, detections)
    name, version = _name(engine)
    run = _run(data, engine, iou, background) if per_class or per_size or engine != "fast" else None
    totals = totals_of(run) if run and engine != "fast" else _fast(data, iou, background)
    classes = _per_class(data, run) if run and per_class else None
    ties = tie_share(data)
    out = {
        **totals,
        "per_class": classes,
        "per_size": {size: _of_size(run, i) for i, size in enumerate(SIZES)} if run and per_size else None,
        "per_iou": {f"{t:.2f}": totals_of(_run(data, engine, t, background)) for t in ious} or None,
        "ties": ties,
        "warnings": _warnings(ties, classes or {}),
        "iou": iou,
        "background": background,
        "engine": {"name": name, "version": version},
        **data.sizes,
    }
    if run and (native := run.native()):
        out["native"] = native
    return out


def tie_share(data: CocoData) -> float | None:
    """Return the share (0-1) of detections with the score of another of their class; None without detections."""
    if not len(data.dt_score):
        return None
    rows = ranked_detections(data)  # by class and score: equal ones are neighbours
    cls, score = data.dt_class[rows], data.dt_score[rows]
    equal = (cls[1:] == cls[:-1]) & (score[1:] == score[:-1])
    return float((np.append(equal, False) | np.append(False, equal)).mean())


def _name(engine: str) -> tuple[str, str]:
    if engine == "fast":
        from c2d.metrics import engine_hotcoco

        return engine_hotcoco.NAME, engine_hotcoco.VERSION
    if engine == "reference":
        from c2d.metrics import engine_reference

        return "tidecv", engine_reference.version("tidecv")
    return "c2d.metrics.tide", VERSION


def _run(data: CocoData, engine: str, iou: float, background: float) -> _Run:
    if engine == "reference":
        from c2d.metrics.engine_reference import TideRun

        return TideRun(data, iou, background)
    return tide_errors.TideErrors(data, iou, background)


def _fast(data: CocoData, iou: float, background: float) -> dict[str, Any]:
    """Totals by hotcoco."""
    from c2d.metrics import engine_hotcoco

    found = engine_hotcoco.tide_totals(data, *tide_errors.countable_rows(data, iou), iou, background)
    spelling = {"FalsePos": "FP", "FalseNeg": "FN"}
    exists = bool(data.objects_per_class.any())  # without objects hotcoco returns 0 instead of undefined
    return {
        "AP": float(found["ap_base"]) if exists else None,
        "dAP": {e: float(found["delta_ap"][spelling.get(e, e)]) if exists else None for e in (*MAIN, *SPECIAL)},
        "counts": {e: int(found["counts"][e]) for e in MAIN},
    }


def _of_size(run: _Run, size: int) -> dict[str, Any]:
    found = totals_of(run, size)
    return {"dAP": found["dAP"], "counts": found["counts"]}


def totals_of(run: _Run, size: int | None = None) -> dict[str, Any]:
    """Return {AP, dAP, counts} of a run: means over the classes with ground truth, those whose AP is a number.

    Args:
        run: of one engine at one threshold, such as a `TideErrors`.
        size: fix and count only errors of this size (position in SIZES); None takes all.
    """
    aps, counts = run.aps(size), run.counts(size).sum(axis=0)
    return {
        "AP": _mean(aps["AP"]),
        "dAP": {error: _mean(aps[error] - aps["AP"]) for error in (*MAIN, *SPECIAL)},
        "counts": dict(zip(MAIN, counts.tolist(), strict=True)),
    }


def _per_class(data: CocoData, run: _Run) -> dict[str, Any]:
    aps, counts = run.aps(), run.counts()
    return {
        name: {
            "AP": _mean(aps["AP"][k : k + 1]),
            "dAP": {error: _mean((aps[error] - aps["AP"])[k : k + 1]) for error in (*MAIN, *SPECIAL)},
            "counts": dict(zip(MAIN, counts[k].tolist(), strict=True)),
        }
        for k, name in enumerate(data.class_names)
    }


def _mean(values: Array) -> float | None:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else None


def _warnings(ties: float | None, per_class: Mapping[str, Any]) -> list[str]:
    lines = []
    if ties is not None and ties > MANY_TIES:
        lines.append(
            f"{ties:.0%} of the detections share their score with another of their class; TIDE then depends on the "
            "order of equal scores: store scores at full precision"
        )
    lost = [name for name, c in per_class.items() if c["AP"] is not None and c["AP"] + c["dAP"]["FalsePos"] == 0]
    if lost:
        lines.append(
            f"no object was found of {abbreviate(lost)}; Miss and FalseNeg are 0 for such a class although all its "
            "objects are missed: see counts"
        )
    return lines
