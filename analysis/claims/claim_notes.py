"""Sentences of claims: footnotes of a line, what verdicts and tests mean, below the table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from analysis.claims.claim_verdicts import VERDICTS, Verdict
from analysis.claims.line_results import LineResult
from analysis.loading.columns import quantity
from analysis.stats.contrasts.contrast_tests import MOST_SEEDS, POWER, ContrastTest, seeds_for_power
from analysis.stats.permutation import ALPHA
from analysis.tables.aggregate import FEW, FEW_NOTE, seed_progress
from analysis.tables.differences import ENOUGH_FOR_VARIANCES

SMALL = "smaller than the margin, so it may not matter"


def line_notes(found: LineResult, family: int) -> Iterator[str]:
    """Yield the footnotes on seeds, variances and what is left open.

    Args:
        family: number of tests of the file.
    """
    if found.estimate is None:
        return
    if found.estimate.n < FEW:
        yield FEW_NOTE
    for cell in found.line.cells:
        samples = found.samples[cell.id]
        if progress := seed_progress(cell.group):
            yield f"{cell.name}: {progress}"
        elif samples.undefined:
            yield f"{cell.name}: {samples.undefined} finished seeds without a number ({samples.reason})"
    yield from found.estimate.notes
    if found.verdict == "open" and found.test is not None:  # without a test the cell has the reason
        yield _open(found, found.test, family)
    margin, test = found.line.margin, found.test
    small = margin is not None and test is not None and -margin < test.low and test.high < margin
    if small and test is not None and test.significant and found.line.kind == "more":
        yield SMALL


def _open(found: LineResult, test: ContrastTest, family: int) -> str:
    """What would decide an open line."""
    line, estimate = found.line, found.estimate
    assert estimate is not None
    unit = quantity(line.column).unit
    half = (test.high - test.low) / 2
    reach = f"the interval reaches {half:.3g} {unit}".strip() + " to each side"
    if line.margin is None:
        return f"open: {reach}; a margin in the spec would say how many seeds are enough"
    margin = f"{line.margin:g} {unit}".strip()
    seeds = seeds_for_power(estimate, line.margin, 1 - ALPHA / family, line.kind == "same")
    enough = f"about {seeds} seeds" if seeds else f"more than {MOST_SEEDS} seeds"
    what = "show two equal sides to be so" if line.kind == "same" else f"find a true difference of {margin}"
    return (
        f"open: {reach}, the margin is {margin}; with these variances, {enough} would {what} in "
        f"{100 * POWER:.0f} % of the cases"
    )


def verdict_counts(verdicts: Sequence[Verdict]) -> str:
    """Return "3 sentences: 2 shown, 1 open"."""
    counts = Counter(verdicts)
    named = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])
    return f"{len(verdicts)} sentence{'s' * (len(verdicts) != 1)}: {named}"


def statistics_sentences(found: Sequence[LineResult], of_any: bool) -> Iterator[str]:
    """Yield the sentences below the table.

    Args:
        of_any: whether a sentence needs only one of its lines.
    """
    tested = [one for one in found if one.test is not None]
    family = len(tested)
    yield (
        "A difference is the side that a sentence claims to be larger minus the other, of means over the seeds that "
        "all its cells have; none is a best run"
    )
    if any(one.line.margin is not None for one in found):
        margins = dict.fromkeys(
            f"{quantity(one.line.column).label} {one.line.margin:g} {quantity(one.line.column).unit}".strip()
            for one in found
            if one.line.margin is not None
        )
        yield f"Margin, the difference that would matter: {', '.join(margins)}"
    no_difference = "no difference: inside the margin; " if any(one.line.margin for one in found) else ""
    yield (
        "shown: the adjusted interval is on the claimed side of 0; contradicted: on the other side; "
        f"{no_difference}open: all else; not run: a cell has no finished run"
    )
    if any(one.line.kind == "same" for one in found):
        yield "A sentence on sameness is shown inside the margin, contradicted if the interval is wholly outside it"
    if len({one.line.claim for one in found}) < len(found):
        yield (
            "A sentence with several lines is shown if all are"
            + (", or, where its comparisons are listed under `any`, if one is" if of_any else "")
            + "; else it is contradicted if one line is (under `any`: if all are)" * of_any
            + "; it is contradicted if one line is" * (not of_any)
        )
    if not tested:
        yield "No line could be tested"
        return
    kinds = list(dict.fromkeys(one.estimate.test for one in tested if one.estimate is not None))
    yield f"Tests: {'; '.join(kinds)}"
    yield (
        f"p and adjusted interval: Holm over the {family} tested line{'s' * (family != 1)} of this table, so that any "
        "false shown or contradicted in it has a probability below 5 %; intervals that contain 0 have Bonferroni's "
        "level. The verdict of a line depends on how many lines there are"
    )
    pooled = [one.estimate.n for one in tested if one.estimate is not None and "residual" in one.estimate.test]
    if pooled and min(pooled) < ENOUGH_FOR_VARIANCES:
        yield (
            "Cells that share their seeds have one residual variance; with fewer than "
            f"{ENOUGH_FOR_VARIANCES} seeds a cell that varies three times as much is often not noticed, and false "
            "verdicts are up to twice as likely"
        )
