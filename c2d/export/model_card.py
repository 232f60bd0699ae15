"""README.md of an export: the hub's front matter, what the model is, its numbers, how to load it, what is not known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from c2d.export.exported_facts import RunFacts
from c2d.export.graph_parity import BOX_PX, SCORE, Parity
from c2d.export.runtimes import IR, ONNX
from c2d.export.student_files import CONFIG, WEIGHTS
from c2d.metrics.coco import NUMBERS
from c2d.specs.teachers import BACKBONE

CARD, LICENCE = "README.md", "LICENSE"
UNKNOWN = "unknown"
OTHER_ROLES = {
    "impressions": ("training images made by", "saw images made by"),
    BACKBONE: ("backbone from", "start from the backbone of"),
}
"""{role of a run that is no teacher: its name in the table, and in the sentence about the origin}."""
WITH_ONNX = """import numpy as np, onnxruntime
from PIL import Image, ImageOps
image = np.asarray(ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB"))
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
boxes, scores, labels = session.run(None, {"image": image})"""
WITH_OPENVINO = """import numpy as np, openvino
from PIL import Image, ImageOps
image = np.asarray(ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB"))
model = openvino.compile_model("openvino_model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
boxes, scores, labels = model([image]).values()"""
WITH_MMDET = """from mmdet.apis import inference_detector, init_detector
model = init_detector("config.py", "student.pth", device="cpu")
found = inference_detector(model, "photo.jpg").pred_instances
boxes, scores, labels = found.bboxes, found.scores, found.labels
names = model.dataset_meta["classes"]"""
"""Five lines each; a test runs them without c2d."""
LINES = {
    ONNX: ("ONNX Runtime (`pip install onnxruntime pillow`)", WITH_ONNX),
    IR: ("OpenVINO (`pip install openvino pillow`)", WITH_OPENVINO),
    CONFIG: ("mmdet 3, with the compiled ops of mmcv", WITH_MMDET),
}


def model_card(facts: RunFacts, files: Sequence[str], parities: Sequence[Parity]) -> str:
    """Return the text of README.md.

    Args:
        facts: of the run.
        files: names of the files of the export.
        parities: of its graphs.
    """
    student, dataset = facts.spec["student"]["name"], facts.spec["dataset"]["name"]
    method = " + ".join(facts.methods) or "no distillation (baseline)"
    sections = [
        f"# {facts.run}",
        f"A detector, `{student}`, trained on `{dataset}` with {method}. {len(facts.classes)} classes: "
        f"{_abbreviated(facts.classes)}.",
        "## Load it in five lines",
        *_how_to_load(files),
        "`boxes` are x1, y1, x2, y2 in pixels of the image; `labels` count from 0 in the order of `classes.txt`. "
        "Resize, normalisation, padding and NMS are inside the ONNX and OpenVINO graphs: they take the image as it "
        "is, (height, width, 3) uint8 RGB, of any size. `preprocessor_config.json` states the same rules for other "
        "programs.",
        f"## Results on the split `{facts.result.get('evaluation_split', 'val')}` of `{dataset}`",
        _numbers(facts.result),
        _tide(facts.result),
        *_parity(parities),
        "## How it was trained",
        _training(facts),
        "## Licence",
        licence_text(facts),
        "## Intended use and limits",
        "Research on detection and distillation. It was measured on the split above and on nothing else: other "
        "cameras, places and classes need their own measurement. Scores are not calibrated probabilities. Do not use "
        "it where a missed or a wrong box can harm somebody.",
        "Origin, all numbers and the sha256 of every file are in `provenance.json`.",
    ]
    return _front_matter(facts, files) + "\n" + "\n\n".join(part for part in sections if part) + "\n"


def licence_text(facts: RunFacts) -> str:
    """Return what is known about the licence of the weights."""
    init, dataset = facts.spec.get("init") or "none", facts.spec["dataset"]["name"]
    parts = [f"They were trained on `{dataset}`", *([f"start from `{init}`"] if init != "none" else [])]
    parts += [
        f"{OTHER_ROLES[role][1] if role in OTHER_ROLES else 'learned from'} `{run}`"
        for role, run in facts.teachers.items()
    ]
    origin = "; ".join(parts)
    if facts.licence == UNKNOWN:
        return (
            f"The licence of these weights is unknown. {origin}. Each of these has terms of its own, which c2d does "
            "not know; clear them before you pass the weights on."
        )
    return (
        f"Whoever exported these weights states the licence `{facts.licence}`. {origin}, which have terms of their own."
    )


def _front_matter(facts: RunFacts, files: Sequence[str]) -> str:
    """The YAML block that the hub reads."""
    import yaml

    dataset = facts.spec["dataset"]["name"]
    split = facts.result.get("evaluation_split", "val")
    formats = [name for name, file in (("onnx", ONNX), ("openvino", IR)) if file in files]
    metrics = [
        {"type": key, "value": round(100 * facts.result[key], 2), "name": f"{key} (COCO, %)"}
        for key in ("AP", "AP50", "AP75")
        if facts.result.get(key) is not None
    ]
    content: dict[str, Any] = {
        "license": facts.licence,
        "library_name": "mmdet",
        "pipeline_tag": "object-detection",
        "tags": ["object-detection", "mmdet", "knowledge-distillation", *formats, *facts.methods],
        "datasets": [dataset],
        "metrics": ["AP"],
        "model-index": [
            {
                "name": facts.run,
                "results": [
                    {
                        "task": {"type": "object-detection"},
                        "dataset": {"name": dataset, "type": dataset, "split": split},
                        "metrics": metrics,
                    }
                ],
            }
        ],
    }
    return f"---\n{yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)}---\n"


def _how_to_load(files: Sequence[str]) -> list[str]:
    found = [f"With {title}:\n\n```python\n{lines}\n```" for file, (title, lines) in LINES.items() if file in files]
    if IR in files:
        found.append("Without that hint OpenVINO computes in bf16 where the processor can, and scores move by 0.001.")
    if WEIGHTS in files:
        found.append(
            "`model.safetensors` has the same weights by the same keys. Where mmcv was installed without its compiled "
            "ops, NMS is missing there; a graph (`c2d export --to onnx`) needs neither."
        )
    return found


def _numbers(result: dict[str, Any]) -> str:
    return "COCO's numbers in %:\n\n" + _one_row({key: result.get(key) for key in NUMBERS})


def _one_row(values: dict[str, float | None]) -> str:
    """A table of shares in %, one row."""
    row = ["–" if value is None else f"{100 * value:.1f}" for value in values.values()]
    return "\n".join(["| " + " | ".join(values) + " |", "|" + "---|" * len(values), "| " + " | ".join(row) + " |"])


def _tide(result: dict[str, Any]) -> str:
    errors = (result.get("tide") or {}).get("dAP") or {}
    if not errors:
        return ""
    return "TIDE, the AP50 that would be gained without each kind of error, in points:\n\n" + _one_row(errors)


def _parity(parities: Sequence[Parity]) -> list[str]:
    if not parities:
        return []
    rows = [
        f"| `{one.file}` | {one.images} | {one.detections} | {one.unmatched} | {_small(one.box_px)} | "
        f"{_small(one.score)} | {'not measured' if one.ap is None else f'{100 * one.ap:.2f}'} |"
        for one in parities
    ]
    head = "| graph | images | detections | without a partner | largest difference, px | of score | AP of the graph |"
    return [
        f"Graphs compared with the stock student on real images, on the same pixels (tolerances: {BOX_PX} px, {SCORE} "
        "of score; AP: from the image files, with the lines above):\n\n" + "\n".join([head, "|" + "---|" * 7, *rows])
    ]


def _small(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}"


def _training(facts: RunFacts) -> str:
    schedule = facts.spec.get("schedule") or {}
    values = schedule.get("values") or {}
    rows = [
        ("data", f"`{facts.spec['dataset']['name']}`, digest `{facts.spec['dataset'].get('digest', UNKNOWN)}`"),
        ("student", f"`{facts.spec['student']['name']}`, digest `{facts.spec['student'].get('digest', UNKNOWN)}`"),
        ("first weights", f"`{facts.spec.get('init') or 'none'}`"),
        *(
            (OTHER_ROLES[role][0] if role in OTHER_ROLES else f"{role} teacher", f"`{run}`")
            for role, run in facts.teachers.items()
        ),
        *((f"method `{name}`", _parameters(values)) for name, values in facts.methods.items()),
        ("schedule", f"`{schedule.get('name', UNKNOWN)}`: {_parameters(values)}"),
        ("seed", str(facts.spec.get("seed", UNKNOWN))),
        ("run", f"`{facts.run}`"),
        ("code", f"c2d {facts.code['c2d'] or UNKNOWN}, commit `{facts.code['commit'] or UNKNOWN}`"),
    ]
    return "| | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in rows)


def _parameters(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in _flat(values)).replace("|", "\\|") or "–"


def _flat(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of every value that is set."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{key}.")
        elif value is not None:
            yield f"{above}{key}", value


def _abbreviated(names: Sequence[str], limit: int = 12) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
