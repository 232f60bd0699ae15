"""Texts about methods for `c2d methods` and docs/methods, from the catalog, which is written from the code."""

from __future__ import annotations

import json
import textwrap
from typing import Any

Entry = dict[str, Any]
EVERY = "every mmdet detector"


def unverified(entry: Entry) -> dict[str, str]:
    """Return {parameter: reason} of the defaults that no source confirms."""
    return {key: rule["unverified"] for key, rule in entry["schema"]["properties"].items() if rule.get("unverified")}


def method_list(catalog: dict[str, Entry]) -> str:
    """Return a few lines for each method."""
    return "\n".join(_summary(name, entry) for name, entry in catalog.items())


def _summary(name: str, entry: Entry) -> str:
    doubts = ", ".join(unverified(entry)) or "nothing"
    rows = [
        f"{name:10} {entry['title']}",
        f"teacher: {_teacher(entry)}; students: {', '.join(entry['detectors']) or EVERY}",
        *_data(entry),
        f"terms: {_terms(entry)}",
        f"cost: {entry['cost']}",
        f"source: {entry['source']}; unverified: {doubts}",
    ]
    return rows[0] + "\n" + "\n".join(textwrap.fill(row, 118, initial_indent=" " * 11, subsequent_indent=" " * 13)
                                      for row in rows[1:])  # fmt: skip


def _teacher(entry: Entry) -> str:
    return " and ".join(entry["teachers"]) or "none"


def _data(entry: Entry) -> list[str]:
    return ["data: every training box has a soft label (docs/spec.md)"] if entry["soft_labels"] else []


def _terms(entry: Entry) -> str:
    return ", ".join(f"{term} (weight {weight})" for term, weight in entry["weights"].items())


def method_text(name: str, entry: Entry) -> str:
    """Return the text about one method: the docstring of its file, then its parameters with default and meaning."""
    lines = [f"{name} (version {entry['version']})", "", entry["about"], "", *_facts(entry), "", "parameters"]
    for key, rule in entry["schema"]["properties"].items():
        words = rule.get("description", "") + _doubt(rule)
        lines.append(f"  {key:14} default {json.dumps(rule.get('default')):18} {_allowed(rule)}{words}")
    lines += _table_lines(entry)
    return "\n".join(lines)


def page(name: str, entry: Entry) -> str:
    """Return the text about one method as a Markdown page."""
    title, _, about = entry["about"].partition("\n")
    head = ["<!-- made by `python -m c2d.methods` from the code; edit that -->", "", f"# {name}: {title}", ""]
    body = ["```text", about.strip("\n"), "```", "", *(f"- {fact}" for fact in _facts(entry)), ""]
    rows = ["| parameter | default | meaning |", "|---|---|---|"]
    for key, rule in entry["schema"]["properties"].items():
        meaning = (_allowed(rule) + rule.get("description", "") + _doubt(rule)).replace("|", "\\|")
        rows.append(f"| `{key}` | `{json.dumps(rule.get('default'))}` | {meaning} |")
    table = _table_lines(entry)
    extra = ["", "```text", *table, "```"] if table else []
    return "\n".join([*head, *body, *rows, *extra]) + "\n"


def contents(catalog: dict[str, Entry]) -> str:
    """Return the text of docs/methods/README.md."""
    lines = [
        "<!-- made by `python -m c2d.methods` from the code; edit that -->",
        "",
        "# Methods",
        "",
        "`c2d methods` prints this list, `c2d methods NAME` a page. What was measured with them: "
        "[results](../results/methods.md).",
        "",
        "| method | title | teacher | students | unverified |",
        "|---|---|---|---|---|",
    ]
    for name, entry in catalog.items():
        doubts = ", ".join(f"`{key}`" for key in unverified(entry)) or "–"
        students = ", ".join(entry["detectors"]) or EVERY
        lines.append(f"| [{name}]({name}.md) | {entry['title']} | {_teacher(entry)} | {students} | {doubts} |")
    lines += [
        "",
        "Distillation without data is no method but a way to make training images: [moi](moi.md).",
        "",
        "Methods compose: `method: [{icod: {}}, {fkd: {}}]` trains with both, and the detector teacher runs once a",
        "step, however many need it. Every method has `weight`, `start`, `ramp`, `decay` and `stop` of its own.",
    ]
    return "\n".join(lines) + "\n"


def _facts(entry: Entry) -> list[str]:
    return [
        f"teacher: {_teacher(entry)}",
        *_data(entry),
        f"students: {', '.join(entry['detectors']) or EVERY}",
        f"terms: {_terms(entry)}",
        f"cost: {entry['cost']}",
        f"source: {entry['source']}",
    ]


def _doubt(rule: Entry) -> str:
    return f" (unverified: {rule['unverified']})" if rule.get("unverified") else ""


def _allowed(rule: Entry) -> str:
    choices = [choice for part in [rule, *rule.get("anyOf", ())] for choice in part.get("enum", ())]
    return f"{' | '.join(map(str, choices))}: " if choices else ""


def _table_lines(entry: Entry) -> list[str]:
    if not entry["by_detector"]:
        return []
    lines = ["", "left null, a parameter takes the value for the student's detector:"]
    for detector, values in entry["by_detector"].items():
        lines.append(f"  {detector:14} {', '.join(f'{key} {json.dumps(value)}' for key, value in values.items())}")
    return lines
