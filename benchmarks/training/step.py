"""Measure a distilled training step: plain and distilled steps in turn, their ratio, memory, and the floor.

The floor is the time that no implementation can avoid: the plain step plus the teacher's layers, forward and backward
to their input, on one crop of every positive used. For a student smaller than the teacher's stem the ratio is large
because the floor is; our code adds the difference between ratio and floor.

Inputs are synthetic: noise images, and boxes of a size that gives the intended number of positives. All samples are
stored (ms, in the order of the steps); medians are computed where they are printed.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.machine import peak_memory
from benchmarks.training.step_process import prepare_process, time_ms


@dataclass(frozen=True)
class StepCase:
    """One row of the step table.

    Attributes:
        student, network: names of the student's config and of the teacher's network.
        batch: images.
        size: side of the images in px.
        objects: boxes an image.
        crop: side of the teacher's crops in px.
        max_positives: option of ICOD.
        side: side of the boxes relative to the image, chosen so that the number of positives is realistic.
        classes: number of classes.
    """

    student: str
    network: str
    batch: int
    size: int
    objects: int
    crop: int
    max_positives: int | None
    side: float
    classes: int = 80


CASES = (
    StepCase("ssd300-vgg16", "resnet50", batch=4, size=300, objects=7, crop=112, max_positives=None, side=0.45),
    StepCase(
        "retinanet-qr18", "resnet18", batch=8, size=160, objects=5, crop=48, max_positives=64, side=0.22, classes=10
    ),
    StepCase(
        "faster-rcnn-qr18", "resnet18", batch=8, size=160, objects=5, crop=48, max_positives=64, side=0.22, classes=10
    ),
)


def measure_step(case: StepCase, repeats: int, threads: int | None = None) -> dict[str, Any]:
    """Time plain and distilled steps and the teacher's part of the floor, in turn.

    Args:
        case: the row.
        repeats: samples of each.
        threads: CPU threads; None: torch's choice.

    Returns:
        {case, device, threads, torch, plain_ms, distilled_ms, floor_ms: lists; positives, used}.
    """
    device = prepare_process(threads)
    plain, distilled, teacher = _models(case, device)
    inputs, samples = _synthetic_batch(case, device)
    calls: dict[str, Callable[[], Any]] = {
        "plain": _step(plain, inputs, samples),
        "distilled": _step(distilled, inputs, samples),
    }
    for call in calls.values():
        call()
    # The first calls choose kernels and allocate memory, so they are not counted.
    observations = calls["distilled"]()
    positives = int(observations["kd_icod_positives"])
    used = int(observations.get("kd_icod_positives_used", positives))
    calls["floor"] = _teacher_part_of_floor(teacher, case.crop, used, case.batch * case.objects, device)
    calls["floor"]()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            times[name].append(time_ms(call, device))
    return {
        "case": asdict(case),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        **{f"{name}_ms": values for name, values in times.items()},
        "positives": positives,
        "used": used,
    }


def peak_mib(case: StepCase, variant: str, threads: int | None = None) -> float:
    """Return the peak memory (MiB) of two steps in this process, which must do nothing else, beyond its packages.

    Args:
        case: the row.
        variant: "plain" or "distilled".
        threads: CPU threads; None: torch's choice.
    """
    device = prepare_process(threads)
    baseline = peak_memory.baseline_mib(device)
    plain, distilled, teacher = _models(case, device)
    model = {"plain": plain, "distilled": distilled}[variant]
    del plain, distilled, teacher
    return peak_memory.peak_of_calls(_step(model, *_synthetic_batch(case, device)), device, baseline)


def distilled_step(case: StepCase, threads: int | None = None) -> Callable[[], dict[str, float]]:
    """Return the distilled step of a case as a call, which returns its losses and observations by name.

    Args:
        case: the row.
        threads: CPU threads; None: torch's choice.
    """
    device = prepare_process(threads)
    return _step(_models(case, device)[1], *_synthetic_batch(case, device), logged="")


def _step(
    model: Any, inputs: Tensor, samples: Callable[[], list[Any]], logged: str = "positives"
) -> Callable[[], dict[str, float]]:
    """Return one training step as a call, which returns the logged values whose names contain `logged`."""
    optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], lr=1e-6)

    def step() -> dict[str, float]:
        total, log = model.parse_losses(model(inputs.clone(), samples(), mode="loss"))
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        optimizer.step()
        return {key: float(torch.as_tensor(value).detach()) for key, value in log.items() if logged in key}

    return step


def markdown(records: list[dict[str, Any]]) -> str:
    """Format the step table: medians, and the median of the ratios of pairs of steps."""
    lines = [
        "| student | teacher, crop px | batch | positives (used) | plain step ms | ICOD step ms "
        "| ratio | floor ratio | plain MiB | ICOD MiB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for record in records:
        case = record["case"]
        pairs = list(zip(record["plain_ms"], record["distilled_ms"], record["floor_ms"], strict=True))
        # Ratios of neighbours in time: a machine whose speed drifts slows both.
        ratio = statistics.median(distilled / plain for plain, distilled, _ in pairs)
        floor = statistics.median((plain + teacher) / plain for plain, _, teacher in pairs)
        lines.append(
            f"| {case['student']} | {case['network']}, {case['crop']} | {case['batch']} "
            f"| {record['positives']} ({record['used']}) "
            f"| {statistics.median(record['plain_ms']):.0f} | {statistics.median(record['distilled_ms']):.0f} "
            f"| {ratio:.2f} | {floor:.2f} "
            f"| {record['plain_mib']:.0f} | {record['distilled_mib']:.0f} |"
        )
    return "\n".join(lines)


def _models(case: StepCase, device: str) -> tuple[Any, Any, Any]:
    """Return the same student plain and under ICOD, and the teacher with random weights."""
    from c2d.configs.student_config import load_student
    from c2d.detectors.normalization import Normalization
    from c2d.distillation.build_methods import build_methods
    from c2d.distillation.wrapper import Distillation, TeacherSet
    from c2d.evaluation.stock_model import build_student
    from c2d.methods.base import Context
    from c2d.specs.catalog import method_catalog
    from c2d.specs.method_schema import resolve_method
    from c2d.teachers.classifier import ClassifierTeacher
    from c2d.teachers.networks import build_network

    size = None if case.student.startswith("ssd") else case.size
    config = load_student(case.student, num_classes=case.classes, input_size=size, pretrained=False)
    # ImageNet's mean and standard deviation, in 0-255.
    pixels = Normalization(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), order="rgb")
    network = build_network(case.network, case.classes, case.crop)
    teacher = ClassifierTeacher(
        network, [str(index) for index in range(case.classes)], case.crop, pixels, device=device
    )
    teachers = TeacherSet(classifier=teacher)
    plain = Distillation(build_student(config), {}, TeacherSet(), case.classes, 0)
    student = build_student(config)
    method = resolve_method([{"icod": {"max_positives": case.max_positives}}], method_catalog())
    context = Context(case.classes, teacher, None, student)
    distilled = Distillation(student, build_methods(method, context), teachers, case.classes, 0)
    return plain.to(device).train(), distilled.to(device).train(), teacher


def _synthetic_batch(case: StepCase, device: str) -> tuple[Tensor, Callable[[], list[Any]]]:
    """Return noise images (B, 3, S, S), and a function that returns new mmdet samples with square boxes, xyxy px."""
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    # On the CPU, so that every device gets the same boxes.
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(case.batch, 3, case.size, case.size, generator=generator).to(device)
    side = case.side * case.size
    corners = torch.rand(case.batch, case.objects, 2, generator=generator) * (case.size - side)
    boxes = torch.cat([corners, corners + side], dim=2).to(device)
    labels = torch.randint(case.classes, (case.batch, case.objects), generator=generator).to(device)

    def samples() -> list[Any]:
        batch = []
        for index in range(case.batch):
            shape = (case.size, case.size)
            sample = DetDataSample(
                metainfo={
                    "img_shape": shape,
                    "pad_shape": shape,
                    "batch_input_shape": shape,
                    "scale_factor": (1.0, 1.0),
                    "img_id": index,
                }
            )
            sample.gt_instances = InstanceData(bboxes=boxes[index].clone(), labels=labels[index].clone())
            sample.ignored_instances = InstanceData(bboxes=boxes.new_zeros(0, 4), labels=labels.new_zeros(0))
            batch.append(sample)
        return batch

    return inputs, samples


def _teacher_part_of_floor(teacher: Any, size: int, positives: int, truths: int, device: str) -> Callable[[], None]:
    """Return the teacher's work as a call.

    That is all of it on every ground-truth crop, and its first layer forward and backward on every positive.
    """
    truth = torch.randn(truths, 3, size, size, device=device)
    crops = torch.randn(positives, 3, size, size, device=device)

    def run_teacher() -> None:
        with torch.no_grad():
            for part in truth.split(16):
                teacher.logits(part)
        for part in crops.split(16):
            part = part.detach().requires_grad_(True)
            teacher.features(part, ["l0"])["l0"].mean().backward()

    return run_teacher
