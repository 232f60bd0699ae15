"""Build the table of a spec of claims: a row a comparison, with the sentence and its verdict in front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from analysis.claims.claim_errors import ClaimErrors
from analysis.claims.claim_lines import claim_lines
from analysis.claims.claim_notes import line_notes, statistics_sentences, verdict_counts
from analysis.claims.claim_verdicts import Verdict, sentence_verdict
from analysis.claims.comparability import check_comparability
from analysis.claims.line_results import LineResult, line_results
from analysis.loading.columns import quantity
from analysis.loading.schema import Study
from analysis.spec.claims_spec import ClaimsSpec
from analysis.spec.labels import label_of_column, math_of
from analysis.tables import notes
from analysis.tables.table import Cell, CellKind, Column, Row, Table
from c2d.markup.composed_text import math_labels
from c2d.markup.label_text import plain_label

AXES = ("claim", "verdict", "compared", "number", "row")
LINE = "line"
"""Label column of the verdict of each line, where a sentence has several; the last but one."""
DIFFERENCE, INTERVAL, P = "difference", "interval", "p"


def build_claims(study: Study, spec: ClaimsSpec, sweep: str, name: str = "", allow_mixed: bool = False) -> Table:
    """Build the table of all claims of a spec.

    Args:
        sweep: of claims that name none; "" where all name one.
        name: of the table; "" takes the spec's.
        allow_mixed: cells that were trained under different protocols get a footnote instead of an error.

    Raises:
        ClaimErrors: unknown axes or labels, cells that no sweep plans or that are not unique, cells under different
            protocols, or evaluated on different images.
        InputError: latency files under different conditions.
    """
    lines = claim_lines(study, spec, sweep)
    check = check_comparability(study, lines)
    errors = [(line.path, sentence) for line in lines for sentence in check.refused[line.key]]
    if not allow_mixed:
        errors += [
            (line.path, f"{sentence}; compare other cells, or pass --allow-mixed, which adds footnotes")
            for line in lines
            for sentence in check.mixed[line.key]
        ]
    if errors:
        raise ClaimErrors(errors)
    found = line_results(study, spec, lines)
    family = sum(one.test is not None for one in found)
    verdicts = {
        claim: sentence_verdict([one.verdict for one in found if one.line.claim == claim], bool(spec.claims[claim].any))
        for claim in spec.claims
    }
    columns = _columns(spec, found)
    several = len(found) > len(verdicts)
    drafts = []
    for one in found:
        row = Row(one.line.key, _labels(spec, one, verdicts[one.line.claim], several), _cells(one), alias=one.line.key)
        sentences = [
            *line_notes(one, family),
            *check.mixed[one.line.key],
            *check.notes[one.line.key],
            *_teachers(one, row, columns),
        ]
        drafts.append(notes.add_sentences(row, DIFFERENCE, list(dict.fromkeys(sentences))))
    rows, footnotes = notes.assign_marks(drafts, columns)
    counts = verdict_counts(list(verdicts.values()))
    return Table(
        name=name or spec.name or "claims",
        title=spec.title,
        row_axes=(*AXES[:-1], LINE, AXES[-1]) if several else AXES,
        columns=columns,
        rows=rows,
        caption=" ".join(filter(None, [spec.caption, counts + "."])),
        notes=footnotes,
        ledger=check.ledger,
        statistics=tuple(statistics_sentences(found, any(claim.any for claim in spec.claims.values()))),
        store=str(study.runs),
        tex_wide=spec.wide,
        math=_math(study, spec),
    )


def _labels(spec: ClaimsSpec, found: LineResult, verdict: Verdict, several: bool) -> tuple[str, ...]:
    line = found.line
    unit = quantity(line.column).unit
    number = label_of_column(spec, line.column) + f" [{unit}]" * bool(unit)
    within = f" (within {line.margin:g})" if line.kind == "same" and line.margin is not None else ""
    labels = (plain_label(spec.claims[line.claim].says), verdict, line.text + within, number)
    return (*labels, found.verdict, line.key) if several else (*labels, line.key)


def _columns(spec: ClaimsSpec, found: Sequence[LineResult]) -> tuple[Column, ...]:
    digits = max(quantity(one.line.column).digits for one in found)
    return (
        Column(DIFFERENCE, "difference [adjusted interval]", "", digits, "contrast"),
        Column(INTERVAL, "95 % interval alone", "", digits, "interval"),
        Column(P, "p, adjusted", "", 3, "p value"),
    )


def _cells(found: LineResult) -> dict[str, Cell]:
    estimate, test = found.estimate, found.test
    if estimate is None:
        missing = Cell(kind="missing", n_planned=found.n_planned, reason=f"not run: {found.missing}")
        return {DIFFERENCE: missing, INTERVAL: Cell(kind="missing"), P: Cell(kind="missing")}
    behind: dict[str, Any] = {
        "runs": tuple(one.run for one in found.runs),
        "files": tuple(one.file for one in found.runs),
        "quantity": found.line.column,
        "factors": tuple(one.factor for one in found.runs),
    }
    kind: CellKind = "value" if estimate.value is not None else "missing"
    difference: dict[str, Any] = {
        "value": estimate.value,
        "n": estimate.n,
        "n_planned": max(found.n_planned, estimate.n),
    }
    if test is None:
        reason = "" if estimate.value is not None else estimate.test
        return {
            DIFFERENCE: Cell(kind, **difference, interval=estimate.test, test=estimate.test, reason=reason, **behind),
            INTERVAL: Cell(kind="missing"),
            P: Cell(kind="missing"),
        }
    name = f"{100 * test.level:.4g} % t"
    name += f", {'Holm' if test.significant else 'Bonferroni'} over {test.family} lines" * (test.family > 1)
    tested: dict[str, Any] = {
        "test": f"{estimate.test}, Holm" if test.family > 1 else estimate.test,
        "family": test.family,
    }
    tested |= {"p": test.p, "p_adjusted": test.p_adjusted, "significant": test.significant}
    return {
        DIFFERENCE: Cell(**difference, low=test.low, high=test.high, interval=name, **tested, **behind),
        INTERVAL: Cell(
            value=estimate.value, low=test.single_low, high=test.single_high, interval="95 % t, by itself", **behind
        ),
        P: Cell(value=test.p_adjusted, **tested, **behind),
    }


def _teachers(found: LineResult, row: Row, columns: Sequence[Column]) -> list[str]:
    return [sentence for cell in found.line.cells for sentence in notes.one_teacher(cell.group, row.cells, columns)]


def _math(study: Study, spec: ClaimsSpec) -> dict[str, str]:
    """The labels with math: of the sentences, of the spec and of the sweeps."""
    from analysis.spec.labels import with_sweep_labels

    known = [with_sweep_labels(spec, record) for name, record in study.sweeps.items() if name in spec.sweeps("")]
    math = math_labels([claim.says for claim in spec.claims.values()]) | math_of(spec)
    for one in known:
        math |= math_of(one)
    return math
