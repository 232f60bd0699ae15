"""Measure the peak memory of a stock student: at inference, and in a training step of its own losses.

Each measurement is a process of its own, `python -m benchmarks.latency.student_memory REQUEST`, so that memory which
another one has left does not count. Peaks are those of `benchmarks.machine.peak_memory`, on a CPU beyond the imported
packages. Inputs are noise, for training with six boxes an image: tensors are as large with real images.
Post-processing is not included.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.machine.peak_memory import baseline_mib, peak_of_calls
from c2d.core.errors import InputError, RunError
from c2d.core.process.python_process import module_command, module_environment

if TYPE_CHECKING:
    from benchmarks.latency.latency_request import LatencyRequest
    from benchmarks.latency.latency_row import LatencyRow

BOXES = 6
"""Ground-truth boxes an image."""


@dataclass(frozen=True)
class MemoryRequest:
    """What to measure.

    Attributes:
        config: a stock mmdet config file.
        kind: a forward pass, or a whole training step.
        batch: images.
        size: (height, width) of the input in px.
        device: cpu or cuda.
        threads: CPU threads; None: torch's choice.
        steps: calls, of which the largest counts. Allocators reach their size at the second.
    """

    config: str
    kind: Literal["inference", "training"]
    batch: int
    size: tuple[int, int]
    device: str = "cpu"
    threads: int | None = None
    steps: int = 2


def measure_peak(request: MemoryRequest) -> dict[str, Any]:
    """Measure in a process of its own.

    Returns:
        The request and {peak_mib: weights and the largest memory of the steps, MiB}.

    Raises:
        InputError: a missing config, or a batch or size below 1.
        RunError: the process failed, with its last line; `failure_class` is oom where memory did not suffice.
    """
    if not Path(request.config).is_file():
        raise InputError(f"no config {request.config}; give a stock mmdet config, such as the config.py of a run")
    if min(request.batch, *request.size, request.steps) < 1:
        raise InputError(
            f"batch {request.batch}, size {request.size[0]} x {request.size[1]} px, {request.steps} steps: "
            "each has to be 1 or more"
        )
    command = module_command("benchmarks.latency.student_memory", json.dumps(asdict(request)))
    done = subprocess.run(command, env=module_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        last_line = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}, no output"])[-1]
        # Under a memory limit Linux kills the process, which then writes nothing.
        too_large = done.returncode == -9 or "out of memory" in done.stderr or "can't allocate memory" in done.stderr
        raise RunError(
            f"{request.kind} of a batch of {request.batch} at {request.size[0]} x {request.size[1]} px on "
            f"{request.device} {'does not fit in memory' if too_large else 'failed'}: {last_line[:300]}",
            "oom" if too_large else "unknown",
        )
    return asdict(request) | json.loads(done.stdout.splitlines()[-1])


def add_training_memory(request: LatencyRequest, rows: Sequence[LatencyRow]) -> None:
    """Set `training_mib` of the eager rows: peak memory (MiB) of a training step at their batch size, or the reason.

    Args:
        request: of the latency measurement.
        rows: its rows; changed in place.
    """
    of_batch: dict[int, float | str] = {}
    for row in rows:
        if row.backend != "eager" or not row.launches:
            continue
        if row.batch not in of_batch:
            size = tuple(row.facts["padded"])
            step = MemoryRequest(request.config, "training", row.batch, size, request.device, request.threads)
            try:
                of_batch[row.batch] = measure_peak(step)["peak_mib"]
            except RunError as error:
                of_batch[row.batch] = str(error)
        row.training_mib = of_batch[row.batch]


def peak_of_this_process(request: MemoryRequest) -> dict[str, float]:
    """Return {peak_mib} of this process, which must do nothing else."""
    import torch

    from c2d.configs.foreign_config import read_config, remove_weight_files
    from c2d.detectors import compat
    from c2d.detectors.mmdet_scope import mmdet_scope

    compat.prepare()
    if request.threads:
        torch.set_num_threads(request.threads)
    torch.manual_seed(0)
    config = read_config(request.config)
    remove_weight_files(config["model"])
    baseline = baseline_mib(request.device)  # after the imports, whose memory is not the student's
    with mmdet_scope():
        from mmdet.registry import MODELS

        model = MODELS.build(config["model"]).to(request.device)
    inputs = torch.randn(request.batch, 3, *request.size, device=request.device)
    call = _inference(model.eval(), inputs) if request.kind == "inference" else _training(model.train(), inputs)
    return {"peak_mib": round(peak_of_calls(call, request.device, baseline, request.steps), 1)}


def _inference(model: Any, inputs: Any) -> Callable[[], None]:
    import torch

    def step() -> None:
        with torch.no_grad():
            model(inputs, _samples(model, inputs), mode="tensor")

    return step


def _training(model: Any, inputs: Any) -> Callable[[], None]:
    """Return a whole step: forward, losses, backward, SGD with momentum."""
    import torch

    # Momentum, because its buffers (one number per weight) belong to the memory of a training.
    optimizer = torch.optim.SGD([w for w in model.parameters() if w.requires_grad], lr=1e-6, momentum=0.9)

    def step() -> None:
        total, _ = model.parse_losses(model(inputs.clone(), _samples(model, inputs), mode="loss"))
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        optimizer.step()

    return step


def _samples(model: Any, inputs: Any) -> list[Any]:
    """Return synthetic ground truth: BOXES boxes along the diagonal of each image, a third of its sides long."""
    import torch
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    height, width = inputs.shape[-2:]
    offsets = torch.linspace(0, 2 / 3, BOXES, device=inputs.device)[:, None]
    scale = offsets.new_tensor([width, height, width, height])
    boxes = torch.cat([offsets, offsets, offsets + 1 / 3, offsets + 1 / 3], dim=1) * scale
    head: Any = getattr(model, "bbox_head", None) or model.roi_head.bbox_head
    # A cascade has one head for each stage; all have the same classes.
    head = head[0] if isinstance(head, torch.nn.ModuleList) else head
    labels = torch.arange(BOXES, device=inputs.device) % int(head.num_classes)
    shape = (height, width)
    meta = {"img_shape": shape, "ori_shape": shape, "pad_shape": shape, "batch_input_shape": shape,
            "scale_factor": (1.0, 1.0), "img_id": 0}  # fmt: skip
    samples = []
    for _ in range(len(inputs)):
        sample = DetDataSample(metainfo=meta)
        sample.gt_instances = InstanceData(bboxes=boxes.clone(), labels=labels.clone())
        sample.ignored_instances = InstanceData(bboxes=boxes[:0].clone(), labels=labels[:0].clone())
        samples.append(sample)
    return samples


if __name__ == "__main__":
    # JSON has no tuples, so the size arrives as a list.
    values = json.loads(sys.argv[1])
    print(json.dumps(peak_of_this_process(MemoryRequest(**values | {"size": tuple(values["size"])}))))
