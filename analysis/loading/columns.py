"""All columns of the frame and all numbers of a report, one line each.

A `FrameColumn` names a column of the frame, the file and the keys that it is read from, and how reports show it.
A new number of result.json is one line in `RESULT_COLUMNS`: `flatten` reads it, the frame holds it, tables and figures
accept its key. The frame stores what the file has (AP and TIDE in 0-1, times in s); reports show `scale` times that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import inf
from typing import Literal

from c2d.core.errors import unknown_name
from c2d.metrics.protocols.protocol_names import REPORTED

Better = Literal["higher", "lower", ""]
RunKind = Literal["detector", "classifier", "impressions"]
TRAINED: tuple[RunKind, ...] = ("detector", "classifier")
"""Kinds of run that train a network; the third makes images."""

COCO = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
TIDE = ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss", "FalsePos", "FalseNeg")
COUNTED = TIDE[:6]
"""Error types with a count. FalsePos and FalseNeg are sums of effects and have none."""
IOUS = tuple(f"{0.5 + 0.05 * step:.2f}" for step in range(10))
TEACHERS = {"classifier": "top1", "detector": "AP", "impressions": "redetected"}
"""{kind of teacher: its metric}. A run may have several; the frame has teacher_top1, teacher_AP, teacher_redetected."""
_NO_OBJECTS = "undefined: no such objects in the validation set"


@dataclass(frozen=True)
class Quantity:
    """One number that a table or figure can show.

    Attributes:
        key: name in a report spec.
        column: column of the frame; "" for a number of the latency files.
        label: header.
        unit: of the shown number; "" for counts and ratios.
        scale: shown = scale x stored.
        digits: after the decimal point.
        better: direction in which a row is ahead; numbers without direction are never bold.
        run_kinds: kinds of run that have the number; () for all.
        latency_column: column of `analysis.loading.latency.latency_of_runs` for a number of the latency files.
        reason: why a finished run has no value.
    """

    key: str
    column: str
    label: str
    unit: str = "%"
    scale: float = 100.0
    digits: int = 1
    better: Better = ""
    run_kinds: tuple[RunKind, ...] = ()
    latency_column: str = ""
    reason: str = "not recorded"

    @property
    def depends_on_device(self) -> bool:
        """Whether device, backend and the other conditions of the measurement change the number."""
        return self.key.startswith(("latency", "memory"))


@dataclass(frozen=True)
class FrameColumn:
    """One column of the frame.

    Attributes:
        name: in the frame.
        keys: keys in the JSON file, from the outside; () where a function of `flatten` computes the value.
        is_number: float64 with NaN for a missing value; else text with "".
        required: the file is damaged without it.
        low, high: bounds of a number.
        run_kinds: kinds of run whose file has it; () for all.
        quantities: how reports show it.
    """

    name: str
    keys: tuple[str, ...] = ()
    is_number: bool = False
    required: bool = False
    low: float = -inf
    high: float = inf
    run_kinds: tuple[RunKind, ...] = ()
    quantities: tuple[Quantity, ...] = ()


def _text(name: str, *keys: str, required: bool = False) -> FrameColumn:
    return FrameColumn(name, keys, required=required)


def _number(name: str, *keys: str, required: bool = False, low: float = -inf, run_kinds: tuple[RunKind, ...] = (),
            quantities: tuple[Quantity, ...] = ()) -> FrameColumn:  # fmt: skip
    return FrameColumn(name, keys, True, required, low, run_kinds=run_kinds, quantities=quantities)


def _ratio(
    name: str,
    *keys: str,
    label: str,
    better: Better = "higher",
    required: bool = False,
    low: float = 0,
    run_kinds: tuple[RunKind, ...] = ("detector",),
    reason: str = "not recorded",
) -> FrameColumn:
    """A number of at most 1 that reports show in percent."""
    shown = Quantity(name, name, label, better=better, run_kinds=run_kinds, reason=reason)
    return FrameColumn(name, keys, True, required, low, 1, run_kinds, (shown,))


def _of_protocol(name: str, *keys: str) -> FrameColumn:
    """A number of an evaluation protocol that some data sets have beside COCO's, see `c2d.metrics.protocols`."""
    protocol, _, rest = name.partition(".")
    reason = f"the data set has no evaluation protocol {protocol}, or no such objects"
    label = f"{protocol.upper()} {re.sub('[._]', ' ', rest)}"
    return _ratio(name, "protocols", *keys, label=label, reason=reason)


STATUS_COLUMNS = (
    _text("state"),
    _text("reason", "reason"),
    _text("failure_class", "failure_class"),
    _text("error", "error"),
    _number("iteration", "iteration"),
    _number("iterations", "iterations"),
    _number("attempt", "attempt"),
    _number(
        "elapsed_s", "elapsed_s", quantities=(Quantity("elapsed_hours", "elapsed_s", "elapsed", "h", 1 / 3600, 2),)
    ),
    _text("heartbeat", "heartbeat"),
)  # fmt: skip
SPEC_COLUMNS = (
    _text("name", "name", required=True),
    _text("kind"),
    _text("dataset", "dataset", "name", required=True),
    _text("dataset_digest", "dataset", "digest", required=True),
    _text("student"),
    _text("student_digest"),
    _text("network"),
    _number("input", "input", low=0),
    _text("init", "init"),
    _text("method"),
    _text("method_json"),
    _text("teacher.classifier", "teachers", "classifier"),
    _text("teacher.detector", "teachers", "detector"),
    _text("teacher.impressions", "teachers", "impressions"),
    _text("backbone", "teachers", "backbone"),
    FrameColumn("data_free"),
    _text("schedule", "schedule", "name", required=True),
    _text("schedule_json"),
    _text("overrides_json"),
    # Of a loop: `flatten` requires them where the schedule has one.
    _number("iterations_planned", "schedule", "values", "iterations", low=0, run_kinds=TRAINED),
    _number("batch", "schedule", "values", "batch", low=0),
    _number("lr", "schedule", "values", "optimizer", "lr", low=0, run_kinds=TRAINED),
    _text("precision", "schedule", "values", "precision"),
)
RESULT_COLUMNS = (
    _text("evaluation_split", "evaluation_split"),
    *(_ratio(name, name, label=name, required=True, reason=_NO_OBJECTS) for name in COCO),
    *(_ratio(f"iou.{iou}", "AP_per_iou", iou, label=f"AP@{iou}", required=True, reason=_NO_OBJECTS) for iou in IOUS),
    *(_of_protocol(name, *keys) for name, keys in REPORTED.items()),
    # dAP is a raw difference: fixing an error type can also lower AP.
    *(_ratio(f"tide.{error}", "tide", "dAP", error, label=f"TIDE {error}", better="lower", low=-1) for error in TIDE),
    *(_number(f"count.{error}", "tide", "counts", error, low=0, run_kinds=("detector",)) for error in COUNTED),
    _number("params", "params", low=0, quantities=(Quantity("params", "params", "params", "M", 1e-6, 2),)),
    _ratio("top1", "top1", label="top-1", required=True, run_kinds=("classifier",)),
    _ratio("top5", "top5", label="top-5", run_kinds=("classifier",)),
    _ratio("ece", "ece", label="ECE", better="lower", run_kinds=("classifier",)),
    _text("fit", "fit", "kind"),
    _number("train_s", "seconds", "train", run_kinds=TRAINED, quantities=(
        Quantity("train_hours", "train_s", "training", "h", 1 / 3600, 2),
        Quantity("train_minutes", "train_s", "training", "min", 1 / 60, 1),
    )),
    _number("train_cpu_s", "seconds", "train_cpu", low=0, run_kinds=TRAINED, quantities=(
        Quantity("train_cpu_hours", "train_cpu_s", "training", "CPU h", 1 / 3600, 2),
        Quantity("train_cpu_minutes", "train_cpu_s", "training", "CPU min", 1 / 60, 1),
    )),
    _number("detect_s", "seconds", "detect", run_kinds=("detector",)),
    FrameColumn("engine"),
    # Of the evaluation split; of a run of kind impressions those that it made.
    _number("images", "images", low=0, run_kinds=("detector", "impressions")),
    _number("boxes", "boxes", low=0, run_kinds=("detector", "impressions")),
    _number("detections", "detections", low=0, run_kinds=("detector",)),
    _ratio("teacher_top1", "teachers", "classifier", "top1", label="teacher top-1", better="",
           reason="no classifier as teacher"),
    _ratio("backbone_top1", "teachers", "backbone", "top1", label="top-1 of the backbone's run", better="",
           reason="no run as the backbone's first weights"),
    _text("teacher_fit", "teachers", "classifier", "fit"),
    _text("teacher_text_embeddings", "teachers", "classifier", "text_embeddings"),
    _ratio("teacher_AP", "teachers", "detector", "AP", label="teacher AP", better="",
           reason="no detector as teacher"),
    _ratio("redetected", "redetected", label="targets found again", run_kinds=("impressions",),
           reason="real images: their targets are the teacher's detections"),
    _number("images_per_minute", "images_per_minute", low=0, run_kinds=("impressions",), quantities=(
        Quantity("images_per_minute", "images_per_minute", "synthesis", "images/min", 1.0, 1, "higher",
                 ("impressions",)),
    )),
    _number("peak_mib", "memory_mib", low=0, quantities=(
        Quantity("peak_mib", "peak_mib", "peak memory of the run", "MiB", 1.0, 0, "lower"),
    )),
    _number("teacher_temperature", "teachers", "classifier", "temperature", low=0, run_kinds=("detector",)),
    # Of the file of first weights, and of neck and heads: the number of keys that came from the teacher.
    _text("init_sha256", "audit_init", "sha256"),
    _number("inherited", "audit_inherited", "loaded", low=0),
    _number("inherited_of", "audit_inherited", "wanted", low=0),
    # Of the images that a student was trained on; empty where they are the data set's own, with its labels.
    *(_text(f"training_images.{key}", "training_images", key)
      for key in ("run", "images_from", "schedule", "teacher")),
    _number("training_images.n_images", "training_images", "n_images", low=0, run_kinds=("detector",), quantities=(
        Quantity("training_images", "training_images.n_images", "images", "", 1.0, 0, run_kinds=("detector",),
                 reason="trained on the data set's own labelled images"),
    )),
    _ratio("teacher_redetected", "training_images", "redetected", label="targets found again", better="",
           reason="trained on no pseudo-targets"),
)  # fmt: skip
ENV_COLUMNS = tuple(_text(name) for name in ("code", "c2d", "python", "torch", "mmdet", "mmcv", "device", "time"))
"""Of the newest attempt. code: sha, with + where files were changed."""
LATENCY_QUANTITIES = (
    Quantity("gflops", "", "FLOPs", "G", 1e-9, 1, latency_column="flops"),
    Quantity("gmacs", "", "MACs", "G", 1e-9, 1, latency_column="macs"),
    *(Quantity(f"latency_{q}", "", q, "ms", 1.0, 1, "lower", latency_column=f"{q}_ms") for q in ("p50", "p90", "p99")),
    Quantity("memory_inference", "", "peak memory", "MiB", 1.0, 0, "lower", latency_column="inference_mib"),
    Quantity("memory_training", "", "peak memory, training", "MiB", 1.0, 0, "lower", latency_column="training_mib"),
)

FILE_COLUMNS = (*STATUS_COLUMNS, *SPEC_COLUMNS, *RESULT_COLUMNS, *ENV_COLUMNS)
"""All columns that are read from files of a run, in the order of the frame."""
NUMBERS = frozenset({"seed", *(column.name for column in FILE_COLUMNS if column.is_number)})
"""Names of the columns that hold numbers; all others hold text."""
RANGES = {column.name: (column.low, column.high) for column in FILE_COLUMNS if column.is_number}
"""{name of a number: lowest and highest value}."""
STATUS_NAMES = frozenset(column.name for column in STATUS_COLUMNS)
RESULT_NAMES = frozenset(column.name for column in RESULT_COLUMNS)
QUANTITIES: dict[str, Quantity] = {
    quantity.key: quantity
    for quantity in (
        *(quantity for column in (*RESULT_COLUMNS, *STATUS_COLUMNS) for quantity in column.quantities),
        *LATENCY_QUANTITIES,
    )
}


def quantity(key: str) -> Quantity:
    """Return the quantity of that name.

    Raises:
        InputError: an unknown name; the message lists all names and the nearest.
    """
    if key not in QUANTITIES:
        raise unknown_name("column", key, QUANTITIES)
    return QUANTITIES[key]
