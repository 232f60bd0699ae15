"""The shipped reports, as their files have them: a sweep is often asked for by the name of one of its tables."""

from __future__ import annotations

from importlib import resources
from typing import Any

from c2d.core.yaml.yaml_lines import parse_mapping


def shipped_report_specs() -> dict[str, dict[str, Any]]:
    """Return {name: its keys} of all files in analysis/reports."""
    folder = resources.files("analysis") / "reports"
    files = [item for item in folder.iterdir() if item.name.endswith(".yaml")]
    return {item.name.removesuffix(".yaml"): parse_mapping(item.read_text("utf-8"), item.name, "") for item in files}
