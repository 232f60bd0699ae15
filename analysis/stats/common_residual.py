"""The residual that the rows of a family have in common, and the rows that vary more than the others.

Before rows are compared with a common residual variance (`analysis.stats.block_design`), two statistics test that they
have one. Their distributions under normal noise of equal variance are simulated for the design, missing seeds included:

  - the largest variance of paired differences over the common one, level `UNEQUAL`: some interval would be too narrow;
  - the largest share of a row in the squared residuals (Cochran's C), level `GROSSLY_UNEQUAL`: one row would widen the
    intervals of all others. The level is lower, because intervals that are too wide raise no false difference.

If one of them is significant, the row with the largest share leaves, and the rest is tested again. If that row is the
baseline, no difference has the common variance. With few seeds neither test finds much: docs/results/statistics.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.stats.block_design import BlockDesign, BlockFit, null_distribution, upper_p

UNEQUAL = 0.05
GROSSLY_UNEQUAL = 0.002
OUTLYING = 0.01
"""Level at which the largest residual of a design is named in a note."""
FEWEST_DF = 4
"""With fewer degrees of freedom the other residuals do not show how large a residual is."""

Seeds = Mapping[int, float]
"""{seed: value} of a row."""


@dataclass(frozen=True)
class CommonResidual:
    """Rows whose differences are tested with one residual variance.

    Attributes:
        rows: their names.
        separate: rows that vary more and are tested by themselves.
        baseline_varies_more: whether the baseline varies more than its rows, so that each is tested by itself.
        notes: {row: sentences} on what varies more and on outlying seeds.
        design, fit: of the baseline and `rows`.
    """

    rows: tuple[str, ...]
    separate: tuple[str, ...]
    baseline_varies_more: bool
    notes: dict[str, list[str]]
    design: BlockDesign
    fit: BlockFit


@dataclass(frozen=True)
class OutlyingResidual:
    """A residual that is larger than normal noise allows.

    Attributes:
        row, seed: places in the design, from 0.
        sentence: what is behind "seed 3 " in a note.
    """

    row: int
    seed: int
    sentence: str


def common_residual(rows: Mapping[str, Seeds], baseline: Seeds) -> CommonResidual:
    """Fit the rows and the baseline, without the rows that vary more.

    Args:
        rows: {row: {seed: value}}, each with at least two seeds of the baseline; seeds that it lacks are not used.
        baseline: {seed: value}.
    """
    kept, separate = list(rows), list[str]()
    notes: dict[str, list[str]] = {}
    while True:
        design, fit = _fit(rows, baseline, kept)
        for row, sentence in _outlying(design, fit, kept, sorted(baseline)).items():
            notes.setdefault(row, []).append(sentence)
        p = _unequal_p(design, fit) if len(kept) > 1 else None
        most = int(fit.share[0].argmax())
        if p is None or most == 0:
            break
        row = kept.pop(most - 1)
        separate.append(row)
        notes.setdefault(row, []).append(
            f"varies more over seeds than the rows beside it ({_why(fit, p)}): tested by itself"
        )
    if p is not None:
        sentence = f"the baseline varies more over seeds than its rows ({_why(fit, p)}): each row is tested by itself"
        for row in rows:
            notes.setdefault(row, []).append(sentence)
    once = {row: list(dict.fromkeys(sentences)) for row, sentences in notes.items()}
    return CommonResidual(tuple(kept), tuple(separate), p is not None, once, design, fit)


def outlying_seed(rows: Mapping[str, Seeds], baseline: Seeds) -> dict[str, list[str]]:
    """Return {row: a note on the seed with the largest residual}; empty where normal noise may be as large.

    Args:
        rows, baseline: as in `common_residual`.
    """
    design, fit = _fit(rows, baseline, list(rows))
    return {row: [text] for row, text in _outlying(design, fit, list(rows), sorted(baseline)).items()}


def _fit(rows: Mapping[str, Seeds], baseline: Seeds, kept: Sequence[str]) -> tuple[BlockDesign, BlockFit]:
    of_rows = [baseline, *(rows[row] for row in kept)]
    values = np.array([[of_row.get(seed, np.nan) for seed in sorted(baseline)] for of_row in of_rows])
    design = BlockDesign(~np.isnan(values))
    return design, design.fit(values[None])


def _unequal_p(design: BlockDesign, fit: BlockFit) -> float | None:
    """The smaller p value of the two statistics; None where equal variances are not rejected."""
    null = null_distribution(design)
    ratio, share = upper_p(null.ratio, float(fit.ratio.max())), upper_p(null.share, float(fit.share.max()))
    return min(ratio, share) if ratio < UNEQUAL or share < GROSSLY_UNEQUAL else None


def _why(fit: BlockFit, p: float) -> str:
    return f"{100 * fit.share.max():.0f} % of the squared residuals, p {p:.2g} under equal variances"


def outlying_residual(design: BlockDesign, fit: BlockFit) -> OutlyingResidual | None:
    """Return the largest residual of a design where normal noise is rarely as large (`OUTLYING`), else None.

    Args:
        fit: of one data set; the first of several is used.
    """
    size = np.abs(fit.residual[0])
    p = upper_p(null_distribution(design).residual, float(size.max()))
    if p >= OUTLYING or design.df < FEWEST_DF:
        return None
    # In units of the standard deviation that is left without it.
    beyond = float(size.max()) * math.sqrt((design.df - 1) / max(design.df - float(size.max()) ** 2, 1e-6))
    row, seed = divmod(int(size.argmax()), size.shape[1])
    sentence = (
        f"is far from the others ({beyond:.3g} standard deviations of the rest, p {p:.2g} for normal noise): "
        "check this run"
    )
    return OutlyingResidual(row, seed, sentence)


def _outlying(design: BlockDesign, fit: BlockFit, kept: Sequence[str], seeds: Sequence[int]) -> dict[str, str]:
    """{row: a sentence on the seed with the largest residual}; of every row where it is the baseline's."""
    found = outlying_residual(design, fit)
    if found is None:
        return {}
    # With one row the residuals of row and baseline are equal but for the sign.
    whose = "of the baseline " if found.row == 0 and len(kept) > 1 else ""
    sentence = f"seed {seeds[found.seed]} {whose}{found.sentence}"
    return dict.fromkeys(kept if found.row == 0 else [kept[found.row - 1]], sentence)
