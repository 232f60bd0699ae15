"""`columns`: what the columns of the frame of `load` are, with unit, file and meaning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analysis.api.runs_frame import NEEDED_BY

if TYPE_CHECKING:
    import pandas as pd

MEANINGS = {
    "run": "id: name, 12 digits of everything that decides the result, seed",
    "sweep": "sweeps that planned the run, joined by a comma; empty: none",
    "role": "in its sweeps: student, teacher, orphan (no longer planned); single: of no sweep",
    "seed": "seed",
    "state": "done (alone with numbers), running, waiting, new (no folder yet), stale (no heartbeat), failed, damaged",
    "reason": "why the run is not done",
    "failure_class": "class of the failure",
    "error": "message of the failure",
    "iteration": "last iteration",
    "iterations": "iterations of the training",
    "attempt": "number of the attempt",
    "elapsed_s": "time of all attempts",
    "heartbeat": "last sign of life, UTC",
    "name": "name of the spec, the beginning of the id",
    "kind": "detector, classifier or impressions",
    "dataset": "data set",
    "dataset_digest": "digest of its annotations and images",
    "student": "student",
    "student_digest": "digest of the student's config",
    "network": "network of a classifier",
    "input": "size of the input",
    "init": "first weights",
    "method": "distillers, joined by +; baseline: none",
    "method_json": "distillers with all parameters and versions",
    "teacher.classifier": "run of the classifier teacher",
    "teacher.detector": "run of the detector teacher",
    "teacher.impressions": "run that made the training images",
    "backbone": "run that the backbone's first weights are of",
    "data_free": "yes: trained on synthesised images alone",
    "schedule": "schedule",
    "schedule_json": "all values of the schedule",
    "overrides_json": "values of the config that the spec replaces",
    "iterations_planned": "iterations of the schedule",
    "batch": "images of a step",
    "lr": "learning rate",
    "precision": "precision of the training",
    "evaluation_split": "split of the numbers; empty: val",
    "params": "parameters of the exported student",
    "fit": "how a classifier was fitted",
    "train_s": "time of the training, all attempts",
    "train_cpu_s": "CPU time of the training, all attempts: of all threads, and on several GPUs of rank 0",
    "peak_mib": "largest memory of the run's process: of tensors on a GPU, else resident",
    "detect_s": "time of the detection in the evaluation",
    "engine": "engine of the COCO numbers, with version",
    "images": "images of the evaluation; of impressions the images made",
    "boxes": "boxes of the evaluation; of impressions the targets",
    "detections": "detections of the evaluation",
    "teacher_fit": "how the classifier teacher was fitted",
    "teacher_text_embeddings": "text embeddings of the classifier teacher",
    "teacher_temperature": "temperature of the calibrated classifier teacher",
    "init_sha256": "sha256 of the file of first weights",
    "inherited": "keys of neck and heads that came from the teacher",
    "inherited_of": "keys of neck and heads",
    "training_images.run": "run that made the training images",
    "training_images.images_from": "how they were made",
    "training_images.schedule": "schedule of that run",
    "training_images.teacher": "detector that they were made from",
    "code": "git commit of the newest attempt; +: files were changed",
    "c2d": "version of c2d",
    "python": "version of Python",
    "torch": "version of torch",
    "mmdet": "version of mmdet",
    "mmcv": "version of mmcv",
    "device": "GPUs, or the CPU, of the training",
    "time": "start of the newest attempt, UTC",
    "store": "folder of the store",
    "cells_json": "cells of the sweeps that the run fills: sweep, role, labels",
}
FAMILIES = {
    "axis.": "label of the cell on this axis of the sweep; several, where the axis makes no difference to the run",
    "AP": "COCO average precision",
    "AR": "COCO average recall",
    "iou.": "AP at this IoU threshold",
    "voc.": "AP of the VOC protocol",
    "kitti.": "AP of the KITTI protocol",
    "tide.": "AP50 that fixing this type of error would bring",
    "count.": "errors of this type",
    "teacher_": "of the teacher of this run",
    "class.AP.": "AP of this class",
    "latency.": "quantile of the latency under these conditions",
}
"""{beginning of a name: meaning} of columns without a line of their own."""
UNITS = {"input": "px", "params": "", "peak_mib": "MiB", "images_per_minute": "images/min"}


def columns() -> pd.DataFrame:
    """Return what the columns of the frame of `analysis.load` are: one row a column or family of columns.

    Returns:
        Index `column` (a family ends with `*`), and `type` (number or text), `unit` of the stored number (`0-1`, `s`,
        `ms`, `px`; "" for counts and text), `meaning`, `file` of the run folder that it is read from, `key` (one or
        more) by which `table` and `plot` show it, `shown_in` (their unit: `%`, `h`, ...), `better` (higher, lower, or
        "" for a number without direction).

    Raises:
        InputError: pandas is not installed; it comes with `c2d-suite[analysis]`.
    """
    from analysis.commands.extra_packages import check_extra

    check_extra(NEEDED_BY)
    import pandas as pd

    rows = [_row(name, "") for name in ("run", "sweep", "role", "seed", "axis.*")] + list(_file_rows())
    rows += [_row("class.AP.*", "result.json", "0-1"), _row("latency.*", "latency/*.json", "ms")]
    rows += [_row(name, "") for name in ("store", "cells_json")]
    rows += list(_latency_keys())
    return pd.DataFrame(rows).set_index("column")


def meaning_of(column: str) -> str:
    """Return the meaning of a column; "" where nothing describes it."""
    from analysis.loading.columns import FILE_COLUMNS

    if column in MEANINGS:
        return MEANINGS[column]
    label = next((one.quantities[0].label for one in FILE_COLUMNS if one.name == column and one.quantities), "")
    family = next((text for start, text in FAMILIES.items() if column.startswith(start)), "")
    return f"{family}: {label}" if family and label and not column.startswith(label) else family or label


def _file_rows() -> list[dict[str, Any]]:
    from analysis.loading.columns import ENV_COLUMNS, RESULT_COLUMNS, SPEC_COLUMNS, STATUS_COLUMNS

    files = {"status": STATUS_COLUMNS, "spec": SPEC_COLUMNS, "result": RESULT_COLUMNS, "env": ENV_COLUMNS}
    rows = []
    for part, known in files.items():
        for column in known:
            shown = column.quantities
            is_share = any(one.unit == "%" for one in shown)
            unit = "0-1" if is_share else "s" if column.name.endswith("_s") else UNITS.get(column.name, "")
            rows.append(
                _row(column.name, f"{part}.json", unit, column.is_number)
                | {"key": ", ".join(one.key for one in shown), "shown_in": ", ".join(one.unit for one in shown),
                   "better": shown[0].better if shown else ""}
            )  # fmt: skip
    return rows


def _latency_keys() -> list[dict[str, Any]]:
    """The numbers of the latency files that tables and figures show; `analysis.latency` has them."""
    from analysis.loading.columns import LATENCY_QUANTITIES

    return [
        _row(f"analysis.latency: {one.latency_column}", "latency/*.json", is_number=True)
        | {"meaning": one.label, "key": one.key, "shown_in": one.unit, "better": one.better,
           "unit": "ms" if one.unit == "ms" else "MiB" if one.unit == "MiB" else ""}
        for one in LATENCY_QUANTITIES
    ]  # fmt: skip


def _row(name: str, file: str, unit: str = "", is_number: bool | None = None) -> dict[str, Any]:
    number = bool(unit) or name == "seed" if is_number is None else is_number
    return {"column": name, "type": "number" if number else "text", "unit": unit,
            "meaning": meaning_of(name), "file": file, "key": "", "shown_in": "", "better": ""}  # fmt: skip
