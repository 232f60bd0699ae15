"""An estimate as Markdown, JSON or CSV, with the assumptions that it rests on."""

from __future__ import annotations

import csv
import io
from typing import Any

from benchmarks.hours import coco_images
from benchmarks.hours.estimate import HoursEstimate, HoursRow
from benchmarks.hours.gpu_cards import CARDS, OPERATOR_S


def markdown(estimate: HoursEstimate) -> str:
    """Write a table for each definition, the sums and the assumptions."""
    lines: list[str] = []
    for definition in estimate.definitions:
        rows = [row for row in estimate.rows if row.definition == definition]
        titles = [CARDS[card].title for card in estimate.cards]
        lines += [
            f"### {definition}",
            "",
            "| cell or teacher | runs | steps x batch | student GFLOP/image | teacher and method | "
            + " | ".join(f"{title} h/run" for title in titles) + " | " + " | ".join(f"{t} h" for t in titles) + " |",
            "|---|---|---|---|---|" + "---|" * (2 * len(titles)),
            *(_line(row, estimate) for row in rows),
            f"| **{estimate.count(definition)} runs** | | | | | " + " | ".join(["" for _ in titles]) + " | "
            + " | ".join(f"**{estimate.total(card, definition):,.0f}**" for card in estimate.cards) + " |",
            "",
        ]  # fmt: skip
    return "\n".join([*lines, *sums(estimate), "", *assumptions(estimate)])


def sums(estimate: HoursEstimate) -> list[str]:
    """Return the lines of the table of sums, and the range of the whole."""
    cards = [CARDS[card] for card in estimate.cards]
    lines = [
        "| definition | runs | " + " | ".join(f"{card.title} GPU hours" for card in cards) + " |",
        "|---|---|" + "---|" * len(cards),
    ]
    for definition in estimate.definitions:
        hours = " | ".join(f"{estimate.total(card, definition):,.0f}" for card in estimate.cards)
        lines.append(f"| {definition} | {estimate.count(definition)} | {hours} |")
    hours = " | ".join(f"**{estimate.total(card):,.0f}**" for card in estimate.cards)
    ranges = " | ".join(
        f"{estimate.total(key) / card.factor:,.0f} to {estimate.total(key) * card.factor:,.0f}"
        for key, card in zip(estimate.cards, cards, strict=True)
    )
    shared = "runs that definitions share counted once"
    lines += [
        f"| **all**, {shared} | **{estimate.count()}** | {hours} |",
        f"| range of all | | {ranges} |",
    ]
    return lines


def assumptions(estimate: HoursEstimate) -> list[str]:
    """Return what the hours rest on, as lines of a list."""
    lines = [
        f"- {card.title}: fp32 {card.share['fp32']:.1%} of {card.peak_tflops['fp32']:g} TFLOP/s, mixed precision "
        f"{card.share['amp']:.1%} of {card.peak_tflops['amp']:g} ({card.basis}); right to a factor of {card.factor:g}."
        for card in (CARDS[key] for key in estimate.cards)
    ]
    lines += [
        f"- A batch is divided over {estimate.gpus} GPUs, and each pads its own images; sizes are those that the "
        f"student's transforms make of {sum(coco_images.SIZES.values())} COCO images.",
        f"- {coco_images.mean_boxes():.1f} boxes an image where the data set says nothing else; positives for each box "
        "by family of the head, of second stages all that the sampler may draw.",
        f"- A step takes at least {1e6 * OPERATOR_S:.0f} us for each operator that the host starts, which limits small "
        "students and fast cards.",
        "- One evaluation at the end. Reading images, checkpoints, the queue and failed runs are not included.",
        *_reading(estimate),
    ]
    return lines + [f"- {note}." for note in estimate.notes]


def _reading(estimate: HoursEstimate) -> list[str]:
    """Say how fast images have to be read for these hours, where they have to be read fastest."""
    rates = [
        (row.flops.iterations * row.flops.batch / (3600 * hours), row.label, CARDS[card].title)
        for row in estimate.rows
        for card, hours in row.hours.items()
        if row.flops.iterations and hours
    ]
    if not rates:
        return []
    rate, label, title = max(rates)
    return [
        f"- Most images are read for {label}: {rate:,.0f} a second for each {title}. Where its loader processes are "
        "slower (`c2d bench loader`), the hours are longer by that ratio."
    ]


def to_json(estimate: HoursEstimate) -> dict[str, Any]:
    """Return rows, sums and assumptions as plain values."""
    return {
        "format": 1,
        "gpus": estimate.gpus,
        "rows": estimate.records(),
        "definitions": {
            name: {"runs": estimate.count(name), **_rounded_totals(estimate, name)} for name in estimate.definitions
        },
        "all": {"runs": estimate.count(), **_rounded_totals(estimate, None)},
        "cards": {
            key: {"peak_tflops": dict(card.peak_tflops), "share": dict(card.share), "factor": card.factor}
            for key, card in ((key, CARDS[key]) for key in estimate.cards)
        },
        "assumptions": [line.removeprefix("- ") for line in assumptions(estimate)],
    }  # fmt: skip


def to_csv(estimate: HoursEstimate) -> str:
    """Return one line for each row."""
    records = estimate.records()
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def _rounded_totals(estimate: HoursEstimate, definition: str | None) -> dict[str, float]:
    return {card: round(estimate.total(card, definition), 1) for card in estimate.cards}


def _line(row: HoursRow, estimate: HoursEstimate) -> str:
    flops, count = row.flops, len(row.runs)
    steps = f"{flops.iterations:,} x {flops.batch}" if flops.iterations else "–"
    each = " | ".join(_hours(row.hours[card]) for card in estimate.cards)
    together = " | ".join(_hours(row.hours[card] * count) for card in estimate.cards)
    image = flops.image
    return (
        f"| {row.label} | {count} | {steps} | {_gflops(image.student)} | {_gflops(image.teachers)} | {each} "
        f"| {together} |"
    )


def _gflops(flops: float) -> str:
    return "–" if not flops else f"{flops / 1e9:.3g}" if flops < 1e12 else f"{flops / 1e9:,.0f}"


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.1f}"
