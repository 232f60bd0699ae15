"""The page of diagnostics of a synthesis: one HTML file without script that loads nothing.

A content security policy in the file allows no address and no script, so that even a text that was not escaped could
do nothing.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from c2d.impressions.page.svg_charts import Bar, Line, horizontal_bars, line_chart, line_style, vertical_bars
from c2d.impressions.page.term_curves import loss_curves, target_curve
from c2d.markup.page_policy import page_policy

WANTED_SHARE = 0.9
"""Share of found targets from which on the images show the teacher what they are meant to show."""
SIZE_BINS = 10
ORIGINS = {
    "optimised": "Pixels were optimised until the teacher sees the targets in them.",
    "noise": "A control: noise, with the targets of the optimised images. Nothing is meant to be found in it.",
    "procedural": "A control: drawn shapes with the targets of the optimised images. c2d chooses their looks, so the "
    "teacher is not meant to find them.",
    "real": "A control: real training images without their labels. The targets are the teacher's own detections.",
}
_NO_TEXT = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
"""Control characters, surrogates and non-characters, which HTML cannot hold."""


def diagnostics_page(
    run: str,
    schedule: Mapping[str, Any],
    coco: Mapping[str, Any],
    result: Mapping[str, Any],
    events: Sequence[Mapping[str, Any]],
    sheet_jpeg: bytes,
) -> str:
    """Return the page.

    Args:
        run: id.
        schedule: {name, values} of the spec.
        coco: content of the annotation file.
        result: content of result.json.
        events: lines of metrics.jsonl; empty for a control.
        sheet_jpeg: a small copy of the sheet.
    """
    style = (Path(__file__).parent / "diagnostics.css").read_text(encoding="utf-8").strip()
    picture = base64.b64encode(sheet_jpeg).decode()
    parts = [
        f"<h1>{escape(run)}</h1>",
        f'<p class="muted">{escape(ORIGINS[result["images_from"]])}</p>',
        *_verdict(result),
        "<h2>Images</h2>",
        "<p>The first images; a dashed box is one that the teacher does not find. In full size: sheet.png.</p>",
        f'<img src="data:image/jpeg;base64,{picture}" alt="The first images with their boxes and class names">',
        "<h2>Found targets</h2>",
        _columns(_redetection_charts(result)),
        "<h2>Targets</h2>",
        _columns(_target_charts(coco, result)),
        "<h2>Losses</h2>",
        *_losses(events, result),
        "<h2>What was made</h2>",
        _columns([_facts(result), _schedule(schedule)]),
    ]
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(page_policy())}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f'<title>{escape(run)}: diagnostics</title>\n<link rel="icon" href="data:,">\n<style>{style}</style>\n</head>\n'
        "<body>\n<main>\n" + "\n".join(parts) + "\n</main>\n</body>\n</html>\n"
    )
    return _NO_TEXT.sub("\N{REPLACEMENT CHARACTER}", page)


def percent(share: float | None) -> str:
    """Return a share as shown: one decimal, never rounded up to a limit that it misses; "none" for None."""
    return "none" if share is None else f"{math.floor(share * 1000 + 1e-9) / 10:.1f} %"


def _verdict(result: Mapping[str, Any]) -> Iterator[str]:
    share, boxes = result["redetected"], result["boxes"]
    if share is None:
        yield '<p class="verdict">There are no targets.</p>'
        return
    limits = result["redetection"]
    text = (
        f"The teacher finds {percent(share)} of the {boxes:,} targets (IoU {limits['iou']:g}, right class, score "
        f"{limits['min_score']:g} or more)"
    )
    if result["images_from"] != "optimised":
        yield f'<p class="verdict">{text}.</p>'
        return
    style = "good" if share >= WANTED_SHARE else "bad"
    yield f'<p class="verdict {style}">{text}; wanted: at least {percent(WANTED_SHARE)}.</p>'


def _columns(cards: Sequence[str]) -> str:
    return '<div class="columns">' + "\n".join(f'<figure class="card">{card}</figure>' for card in cards) + "</div>"


def _redetection_charts(result: Mapping[str, Any]) -> list[str]:
    wanted = WANTED_SHARE if result["images_from"] == "optimised" else None

    def bar(name: str, share: float | None) -> Bar:
        style = "" if wanted is None or share is None else "good" if share >= wanted else "bad"
        return Bar(name, share, percent(share), style)

    line = f"; the line is at {percent(wanted)}" if wanted is not None else ""
    by_class = [bar("all", result["redetected"]), *(bar(*item) for item in result["redetected_by_class"].items())]
    by_size = [
        *(bar(*item) for item in result["redetected_by_size"].items()),
        bar("whole images", result["redetected_images"]),
    ]
    return [
        "<h3>By class</h3>"
        + horizontal_bars(by_class, 1.0, wanted, "Share of the targets that the teacher finds, by class")
        + f"<figcaption>Share of the targets that are found{line}. none: there is no such target.</figcaption>",
        "<h3>By size, and by image</h3>"
        + horizontal_bars(by_size, 1.0, wanted, "Share of the targets that the teacher finds, by size")
        + "<figcaption>Small, medium and large as in COCO: areas below 32², below 96² and above, in px. Whole images: "
        "share of the images with targets in which all of them are found.</figcaption>",
    ]


def _target_charts(coco: Mapping[str, Any], result: Mapping[str, Any]) -> list[str]:
    labels: Mapping[str, int] = result["labels"]
    expected = result["boxes"] / len(labels) if labels else 0.0
    p = result["label_uniformity"]
    tested = "Too few targets for a test of that." if p is None else f"Chi-square test of that: p = {p:.2g}."
    bars = [Bar(name, count, f"{count:,}") for name, count in labels.items()]
    most = max([expected, *labels.values()], default=0)
    images = {row["id"]: row for row in coco["images"]}
    sides = Counter(
        min(SIZE_BINS - 1, int(SIZE_BINS * math.sqrt(one["area"] / (row["width"] * row["height"]))))
        for one in coco["annotations"]
        for row in [images[one["image_id"]]]
    )
    objects = Counter(dict.fromkeys(images, 0))
    objects.update(one["image_id"] for one in coco["annotations"])
    by_number = Counter(objects.values())
    numbers = range(max(by_number, default=0) + 1)
    return [
        "<h3>Labels</h3>"
        + horizontal_bars(bars, most, expected, "Number of targets of each class")
        + f"<figcaption>Targets of each class; the line is at {expected:,.1f}, as if all classes were equally "
        f"frequent. {tested}</figcaption>",
        "<h3>Sizes</h3>"
        + vertical_bars(
            [f"{place / SIZE_BINS:g}" for place in range(SIZE_BINS)],
            [sides[place] for place in range(SIZE_BINS)],
            "square root of the box's share of the image, from",
            "Number of targets by size",
        ),
        "<h3>Objects of an image</h3>"
        + vertical_bars(
            [str(number) for number in numbers],
            [by_number[n] for n in numbers],
            "objects",
            "Images by number of objects",
        ),
    ]


def _losses(events: Sequence[Mapping[str, Any]], result: Mapping[str, Any]) -> Iterator[str]:
    dropped: Mapping[str, str] = result["terms_dropped"]
    if dropped:
        items = "".join(f"<dt>{escape(term)}</dt><dd>{escape(reason)}</dd>" for term, reason in dropped.items())
        yield f"<p>Terms that are left out:</p><dl>{items}</dl>"
    stages = loss_curves(events)
    if not stages:
        yield '<p class="muted">No pixel was optimised.</p>'
        return
    cards = []
    for stage, lines in stages.items():
        cards.append(
            f"<h3>{stage.capitalize()}</h3>"
            + line_chart(lines, "iterations", f"Losses of the {stage} over the iterations", True)
            + _legend(lines)
            + "<figcaption>Weighted terms, mean over the batches.</figcaption>"
        )
        targets = target_curve(events, stage)
        if len({value for _, value in targets}) > 1:
            line = Line("objects", targets)
            cards.append(
                f"<h3>Objects in the {stage}</h3>"
                + line_chart([line], "iterations", "Mean number of objects of an image over the iterations", False)
                + "<figcaption>Mean of the images: the teacher's detections are added, and targets that it does not "
                "find are dropped.</figcaption>"
            )
    yield _columns(cards)


def _legend(lines: Sequence[Line]) -> str:
    items = []
    for place, line in enumerate(lines):
        if line.points:
            mark = f'<line x2="24" y1="5" y2="5" class="{line_style(place)}"/>'
            text = f"{escape(line.name)}: {line.points[0][1]:.3g} to {line.points[-1][1]:.3g}"
            items.append(f'<li><svg viewBox="0 0 24 10" aria-hidden="true">{mark}</svg>{text}</li>')
    return f'<ul class="legend">{"".join(items)}</ul>'


def _facts(result: Mapping[str, Any]) -> str:
    teacher = result["teacher"]
    speed, memory = result["images_per_minute"], result["memory_mib"]
    rows = {
        "images": f"{result['images']:,}",
        "images from": result["images_from"],
        "targets": f"{result['boxes']:,}",
        "other detections": f"{result['unmatched_detections']:,} of the teacher, which are of no target",
        "soft labels": "yes" if result["soft_labels"] else "no",
        "time": f"{result['seconds'] / 60:,.1f} min",
        "images per minute": "none" if speed is None else f"{speed:,.1f}",
        "memory": "not measured" if memory is None else f"{memory:,.0f} MiB",
        "teacher": teacher["run"],
        "its AP": "unknown" if teacher["AP"] is None else f"{100 * teacher['AP']:.1f} %",
        "its weights": f"sha256 {teacher['sha256'][:12]}",
        "card": f"digest {result['card_digest'][:12]}",
    }
    notes = "".join(f"<p>{escape(note)}.</p>" for note in result["notes"])
    return f"<h3>Numbers</h3>{_definitions(rows)}{notes}"


def _schedule(schedule: Mapping[str, Any]) -> str:
    rows = {key: json.dumps(value) for key, value in _flat(schedule["values"])}
    name = schedule["name"]
    return (
        f"<h3>Schedule {escape(name)}</h3>{_definitions(rows)}<figcaption>Whose value each of them is stands in the "
        f"comments of the preset, c2d/configs/impressions.</figcaption>"
    )


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _definitions(rows: Mapping[str, str]) -> str:
    return f"<dl>{''.join(f'<dt>{escape(k)}</dt><dd>{escape(v)}</dd>' for k, v in rows.items())}</dl>"
