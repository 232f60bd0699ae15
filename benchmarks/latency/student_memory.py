"""Peak memory of a stock student: at inference, and in a training step of its own losses.

Each measurement is a process of its own, `python -m benchmarks.latency.student_memory REQUEST`: what another one left behind must not
count. Peaks are those of `benchmarks.machine.peak_memory`, on a CPU beyond the imported packages.

Inputs are noise, and for training six boxes an image of a third of its side, spread evenly: tensors are as large with
real images, and post-processing is not in it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.machine.peak_memory import base_mib, of_calls
from c2d.core.errors import InputError, RunError

if TYPE_CHECKING:
    from benchmarks.latency import worker
    from benchmarks.latency.measure import Row

BOXES = 6


@dataclass(frozen=True)
class Request:
    """What to measure.

    config: a stock mmdet config file. size: height, width of the input in px. steps: calls, of which the largest
    counts (allocators settle at the second). device: cpu or cuda. threads: of a CPU; None: torch's choice.
    """

    config: str
    kind: Literal["inference", "training"]
    batch: int
    size: tuple[int, int]
    device: str = "cpu"
    threads: int | None = None
    steps: int = 2


def peak(request: Request) -> dict[str, Any]:
    """Measure in a process of its own.

    Returns:
        The request and {peak_mib: weights and what the steps hold at most}.

    Raises:
        InputError: no config there, or a batch or size below 1.
        RunError: the process failed: its last line; `failure_class` is oom where memory did not suffice.
    """
    if not Path(request.config).is_file():
        raise InputError(f"no config {request.config}; give a stock mmdet config, such as the config.py of a run")
    if min(request.batch, *request.size, request.steps) < 1:
        raise InputError(
            f"batch {request.batch}, size {request.size[0]} x {request.size[1]} px, {request.steps} steps: "
            "each has to be 1 or more"
        )
    asked = json.dumps(asdict(request))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.latency.student_memory", asked], capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}, nothing said"])[-1]
        # A killed process says nothing: under a memory limit that is how Linux ends it.
        full = done.returncode == -9 or "out of memory" in done.stderr or "can't allocate memory" in done.stderr
        raise RunError(
            f"{request.kind} of a batch of {request.batch} at {request.size[0]} x {request.size[1]} px on "
            f"{request.device} {'does not fit in memory' if full else 'failed'}: {said[:300]}",
            "oom" if full else "unknown",
        )
    return asdict(request) | json.loads(done.stdout.splitlines()[-1])


def add_training(request: worker.Request, rows: Sequence[Row]) -> None:
    """Peak memory of a training step at every batch size of a latency measurement, put into its rows of eager fp32: in
    MiB, or why there is none."""
    of_batch: dict[int, float | str] = {}
    for row in rows:
        if row.backend != "eager" or not row.launches:
            continue
        if row.batch not in of_batch:
            size = tuple(row.facts["padded"])
            asked = Request(request.config, "training", row.batch, size, request.device, request.threads)
            try:
                of_batch[row.batch] = peak(asked)["peak_mib"]
            except RunError as error:
                of_batch[row.batch] = str(error)
        row.training_mib = of_batch[row.batch]


def measure_here(request: Request) -> dict[str, float]:
    """{peak_mib} of this process, which should do nothing else."""
    import torch
    from mmengine import Config
    from mmengine.registry import DefaultScope

    from benchmarks.latency.student import register

    register()
    from mmdet.registry import MODELS

    if request.threads:
        torch.set_num_threads(request.threads)
    torch.manual_seed(0)
    config = Config.fromfile(request.config)
    base = base_mib(request.device)
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(config["model"]).to(request.device)
    inputs = torch.randn(request.batch, 3, *request.size, device=request.device)
    call = _inference(model.eval(), inputs) if request.kind == "inference" else _training(model.train(), inputs)
    return {"peak_mib": round(of_calls(call, request.device, base, request.steps), 1)}


def _inference(model: Any, inputs: Any) -> Callable[[], None]:
    import torch

    def once() -> None:
        with torch.no_grad():
            model(inputs, _samples(model, inputs), mode="tensor")

    return once


def _training(model: Any, inputs: Any) -> Callable[[], None]:
    """A whole step: forward, losses, backward, SGD with momentum."""
    import torch

    optimizer = torch.optim.SGD([w for w in model.parameters() if w.requires_grad], lr=1e-6, momentum=0.9)

    def once() -> None:
        total, _ = model.parse_losses(model(inputs.clone(), _samples(model, inputs), mode="loss"))
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        optimizer.step()

    return once


def _samples(model: Any, inputs: Any) -> list[Any]:
    """Made ground truth: `BOXES` boxes an image along its diagonal, a third of its sides long, of the first classes."""
    import torch
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    height, width = inputs.shape[-2:]
    places = torch.linspace(0, 2 / 3, BOXES, device=inputs.device)[:, None]
    scale = places.new_tensor([width, height, width, height])
    boxes = torch.cat([places, places, places + 1 / 3, places + 1 / 3], dim=1) * scale
    head: Any = getattr(model, "bbox_head", None) or model.roi_head.bbox_head
    head = head[0] if isinstance(head, torch.nn.ModuleList) else head
    labels = torch.arange(BOXES, device=inputs.device) % int(head.num_classes)
    shape = (height, width)
    meta = {"img_shape": shape, "ori_shape": shape, "pad_shape": shape, "batch_input_shape": shape,
            "scale_factor": (1.0, 1.0), "img_id": 0}  # fmt: skip
    made = []
    for _ in range(len(inputs)):
        sample = DetDataSample(metainfo=meta)
        sample.gt_instances = InstanceData(bboxes=boxes.clone(), labels=labels.clone())
        sample.ignored_instances = InstanceData(bboxes=boxes[:0].clone(), labels=labels[:0].clone())
        made.append(sample)
    return made


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print(json.dumps(measure_here(Request(**given | {"size": tuple(given["size"])}))))
