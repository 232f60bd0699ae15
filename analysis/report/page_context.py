"""Content of the page from the contents of a report: progress, failures, the list of runs, provenance."""

from __future__ import annotations

import platform
import sys
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from analysis.loading.failure_list import list_failures
from analysis.loading.schema import STATES, Study, labels_of
from analysis.page.page_model import PageContent, SweepProgress
from analysis.spec.labels import short_axis_label, value_label
from analysis.tables.image_sources import LABELLED, images_text
from c2d import __version__
from c2d.core.masking import mask_command

if TYPE_CHECKING:
    import pandas as pd

    from analysis.report.report_contents import ReportContents, ReportRequest

PACKAGES = ("numpy", "pandas", "scipy", "matplotlib", "hotcoco")


def page_content(contents: ReportContents, request: ReportRequest) -> PageContent:
    """Return the content of the page."""
    study = contents.study
    runs = [_run(row, study.sweeps.get(row["sweep"], {})) for row in _one_row_per_run(study).to_dict("records")]
    titles = [record.get("question", "") for record in study.sweeps.values()] if len(study.sweeps) == 1 else []
    return PageContent(
        title=titles[0] if titles else ", ".join(study.sweeps) or "Runs",
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        sweeps=_progress(study),
        store=str(request.runs),
        tables=contents.tables,
        figures=contents.figures,
        failures=list_failures(study),
        problems=contents.problems,
        runs=runs,
        skipped=[*contents.skipped, *contents.notes],
        commits=dict(Counter(row["code"] for row in runs if row.get("code")).most_common()),
        provenance=provenance(),
        table_files={table.name: str(request.out / "tables" / f"{table.name}.csv") for table in contents.tables},
    )


def provenance() -> dict[str, str]:
    """Return the command line and the versions of this process: {fact: value}."""
    versions = {
        "command": " ".join(["c2d", *mask_command(sys.argv)[1:]]),
        "python": platform.python_version(),
        "c2d": __version__,
    }
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def _progress(study: Study) -> list[SweepProgress]:
    out = []
    for name in [*study.sweeps, ""]:
        rows = study.frame[study.frame["sweep"] == name].drop_duplicates("run")
        rows = rows[rows["role"] != "orphan"]
        if len(rows):
            counts = rows["state"].value_counts()
            states = {state: int(counts[state]) for state in reversed(STATES) if state in counts}
            question = study.sweeps[name].get("question", "") if name else "runs of no sweep"
            out.append(SweepProgress(name or "no sweep", question, states))
    return out


def _one_row_per_run(study: Study) -> pd.DataFrame:
    return study.frame.drop_duplicates("run")


def _run(row: Mapping[Any, Any], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """One line of the list of runs, with the labels of its sweep; a missing value is None."""
    plain = {str(key): None if value is None or value != value else value for key, value in row.items()}
    keys = ("run", "sweep", "role", "seed", "state", "AP", "AP50", "top1", "redetected", "train_s", "code", "c2d")
    images = images_text(row) if plain.get("kind") == "detector" else LABELLED
    return {
        **{key: plain.get(key) for key in (*keys, "torch", "mmdet", "device", "time", "reason")},
        "images": None if images == LABELLED else images,
        "cells": ", ".join(
            f"{short_axis_label(manifest, axis)} {value_label(manifest, axis, label)}"
            for axis, label in labels_of(row).items()
        ),
        "teacher": plain.get("teacher.classifier") or plain.get("teacher.detector"),
    }
