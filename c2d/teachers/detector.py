"""A frozen detector as a teacher: any mmdet config with its checkpoint. Loading, the audit and taps; no loss.

A plain object like the classifier teacher, so the student's optimizer, DDP, EMA and checkpoints never see it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine import Config
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from c2d.configs import without_pretrained
from c2d.core.errors import InputError, first_line
from c2d.core.run_folder import RunFolder
from c2d.detectors import compat, hooks
from c2d.detectors.batch import Batch
from c2d.detectors.heads import dense_head
from c2d.detectors.normalization import Normalization, renormalize
from c2d.detectors.outputs import DetectorOutputs, Needs
from c2d.detectors.recording import feature_layers, read_dense_outputs, split_maps
from c2d.weights import safe_load


class DetectorTeacher:
    """A detector in eval mode whose weights require no gradient.

    Attributes:
        network: the mmdet detector.
        normalization: of the images it takes, see `normalize`.
        num_classes: foreground classes, None where the head does not say.
        classes: their names in the order of the logits, None where the config does not say.
        audit: which keys of the checkpoint went where.
    """

    def __init__(
        self, network: nn.Module, *, device: str | torch.device = "cpu", audit: safe_load.Audit | None = None
    ) -> None:
        """`network` is frozen in place and moved to `device`."""
        self.network = network.eval().requires_grad_(False).to(device)
        self.normalization = Normalization.from_preprocessor(self.network.data_preprocessor)
        self.num_classes = _classes(self.network)
        self.classes: tuple[str, ...] | None = None
        self.audit = audit

    @classmethod
    def from_parts(cls, config: Config | str | Path, checkpoint: str | Path, device: str = "cpu") -> DetectorTeacher:
        """An mmdet config (or its path) and a checkpoint. Nothing that the config would download is downloaded.

        Raises:
            InputError: a config without a model, or a checkpoint that lacks keys of it (the first ten are named).
        """
        source = config if isinstance(config, Config) else _read(Path(config))
        if not isinstance(source.get("model"), dict):
            raise InputError(f"{config} has no `model`; a detector teacher is an mmdet config with its checkpoint")
        model = copy.deepcopy(source["model"])
        without_pretrained(model)
        compat.prepare()
        from mmdet.registry import MODELS
        from mmdet.utils import register_all_modules

        register_all_modules(init_default_scope=False)
        with DefaultScope.overwrite_default_scope("mmdet"):
            network = MODELS.build(model)
        # Not strict: a checkpoint may hold averaged copies and the like; they are in the audit as unexpected.
        audit = safe_load.load_into(network, checkpoint, who="teacher", strict=False)
        teacher = cls(network, device=device, audit=audit)
        teacher.classes = _named_classes(source)
        return teacher

    @classmethod
    def from_run(cls, folder: str | Path, device: str = "cpu") -> DetectorTeacher:
        """The detector of a finished run: its config.py and student.pth."""
        run = RunFolder(Path(folder))
        for path in (run.config, run.student):
            if not path.exists():
                raise InputError(f"detector teacher {run.id} has no {path.name}; finish it first: c2d train {run.path}")
        return cls.from_parts(run.config, run.student, device)

    @property
    def module(self) -> nn.Module:
        """The module that is run."""
        return self.network

    def normalize(self, images: Tensor, src: Normalization) -> Tensor:
        """Images (B, 3, H, W) normalised as `src`, in the teacher's own normalisation."""
        return renormalize(images, src, self.normalization)

    @torch.no_grad()
    def observe(self, batch: Batch, needs: Needs) -> DetectorOutputs:
        """What the teacher computes for a batch, no deeper than `needs` asks: one pass for all methods of a step.

        The images are converted to the teacher's normalisation; padding, which is zero for every detector, is zeroed
        again where the conversion moved it. The second stage comes later (`c2d.detectors.roi_stage`), on RoIs of the student.
        """
        detector: Any = self.network
        images = self.normalize(batch.images, batch.normalization)
        if self.normalization != batch.normalization:
            images = _without_padding(images, batch)
        with hooks.record_outputs(self.network, feature_layers(self.network)) as seen:
            maps = detector.extract_feat(images)
        dense = None
        if needs.dense:
            head = dense_head(self.network)
            dense = read_dense_outputs(head, *head(maps)[:2])
        return DetectorOutputs(*split_maps(seen), dense)

    @torch.no_grad()
    def read(self, images: Tensor, names: Sequence[str]) -> dict[str, Any]:
        """Outputs of the modules `names` for images (B, 3, H, W) in the teacher's pixels, no deeper than needed.

        Names are those of `network.named_modules()`, e.g. `backbone.layer4` or `neck`. mmdet calls the `forward` of
        dense heads past their hooks: name a part, e.g. `bbox_head.retina_cls`; shared by all levels, it gives the
        first one's.

        Raises:
            InputError: no such module, or one that the forward pass does not call.
        """
        try:
            found = hooks.extract_outputs(_Raw(self.network), [f"network.{name}" for name in names], images)
        except KeyError as error:
            name = str(error.args[0]).removeprefix("network.")
            raise InputError(f"module {name} is never called itself; name a part of it, e.g. {name}.<part>") from None
        return {name.removeprefix("network."): output for name, output in found.items()}


class _Raw(nn.Module):
    """A detector called on a tensor, with mmdet's `tensor` mode behind it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.train(network.training)

    def forward(self, images: Tensor) -> Any:
        from mmdet.structures import DetDataSample

        height, width = images.shape[-2:]
        shape = {"img_shape": (height, width), "batch_input_shape": (height, width), "pad_shape": (height, width)}
        shape |= {"ori_shape": (height, width), "scale_factor": (1.0, 1.0)}  # type: ignore[dict-item]
        samples = [DetDataSample(metainfo=shape) for _ in images]
        return self.network(images, samples, mode="tensor")


def _without_padding(images: Tensor, batch: Batch) -> Tensor:
    """Zero outside each image's own size."""
    if all(size == tuple(images.shape[-2:]) for size in batch.sizes):
        return images
    rows = torch.arange(images.shape[2], device=images.device)[None, :, None]
    cols = torch.arange(images.shape[3], device=images.device)[None, None, :]
    sizes = torch.tensor(batch.sizes, device=images.device)[:, :, None, None]
    kept = (rows < sizes[:, 0]) & (cols < sizes[:, 1])
    return images * kept[:, None]


def _read(path: Path) -> Config:
    if not path.is_file():
        raise InputError(f"no config {path}; a detector teacher needs its mmdet config and its checkpoint")
    try:
        return Config.fromfile(path)
    except Exception as error:  # whatever the user's config raises
        raise InputError(f"cannot read {path}: {first_line(error)}") from error


def _named_classes(config: Config) -> tuple[str, ...] | None:
    dataset = (config.get("test_dataloader") or {}).get("dataset") or {}
    named = (dataset.get("metainfo") or {}).get("classes")
    return tuple(named) if named else None


def _classes(network: Any) -> int | None:
    head = getattr(network, "bbox_head", None) or getattr(getattr(network, "roi_head", None), "bbox_head", None)
    if isinstance(head, nn.ModuleList):
        head = head[-1]
    count = getattr(head, "num_classes", None)
    return int(count) if count is not None else None
