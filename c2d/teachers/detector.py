"""A frozen detector as a teacher: any mmdet config with its checkpoint."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from mmengine import Config
from torch import Tensor, nn

from c2d.configs.class_names import name_outputs
from c2d.configs.foreign_config import read_config, remove_weight_files
from c2d.configs.run_config import read_run_config
from c2d.core.errors import InputError, first_line
from c2d.core.run_folder import RunFolder
from c2d.detectors import hooks
from c2d.detectors.batch import Batch, samples_of_images, samples_with_boxes
from c2d.detectors.heads import count_classes, dense_head
from c2d.detectors.mmdet_scope import mmdet_scope
from c2d.detectors.normalization import Normalization, renormalize
from c2d.detectors.outputs import DetectorOutputs, Needs
from c2d.detectors.recording.head_towers import record_towers
from c2d.detectors.recording.query_outputs import predict_queries
from c2d.detectors.recording.record_forward import feature_layers, read_dense_outputs, split_maps
from c2d.ops.seeding import temporary_seed
from c2d.weights import safe_load
from c2d.weights.audit import Audit

WHOLE = "a detector teacher needs its whole mmdet config and its checkpoint"


class DetectorTeacher:
    """A detector in eval mode whose weights require no gradient.

    Attributes:
        network: the mmdet detector.
        normalization: of the images it takes, see `normalize`.
        num_classes: foreground classes; None where the head has no such attribute.
        classes: their names in the order of the logits; None where neither config nor checkpoint has them.
        audit: which keys of the checkpoint were loaded.
    """

    def __init__(self, network: nn.Module, *, device: str | torch.device = "cpu", audit: Audit | None = None) -> None:
        """Freeze `network` in place and move it to `device`."""
        # eval() keeps batch norm on its stored statistics; nothing calls train() on a teacher, which is no submodule.
        self.network = network.eval().requires_grad_(False).to(device)
        self.normalization = Normalization.from_preprocessor(self.network.data_preprocessor)
        self.num_classes = count_classes(self.network)
        self.classes: tuple[str, ...] | None = None
        self.audit = audit

    @classmethod
    def from_parts(cls, config: Config | str | Path, checkpoint: str | Path, device: str = "cpu") -> DetectorTeacher:
        """Build an mmdet config and load a checkpoint. Weights that the config would download are not downloaded.

        Args:
            config: mmdet config, or its path.
            checkpoint: weight file.
            device: of the teacher.

        Raises:
            InputError: the config has no model, the checkpoint lacks keys of it (the first ten are named), or what they
                say about the classes differs.
        """
        source = config if isinstance(config, Config) else read_config(config, WHOLE)
        if not isinstance(source.get("model"), dict):
            raise InputError(f"{config} has no `model`; a detector teacher is an mmdet config with its checkpoint")
        model = copy.deepcopy(source["model"])
        remove_weight_files(model)
        with mmdet_scope():
            from mmdet.registry import MODELS

            try:
                network = MODELS.build(model)
            except (InputError, MemoryError):
                raise
            except Exception as error:  # a config's values reach any code of mmdet and torch, which may raise anything
                raise InputError(f"mmdet cannot build the model of {config}: {first_line(error)}") from error
        # Not strict: a checkpoint may hold EMA copies of the weights; the audit lists them as unexpected.
        loaded = safe_load.load(checkpoint)
        audit = safe_load.load_into(network, loaded, who="teacher", strict=False, source_name=str(checkpoint))
        teacher = cls(network, device=device, audit=audit)
        name = str(source.filename or "the config") if isinstance(config, Config) else str(config)
        named = name_outputs(source, loaded, teacher.num_classes, name, str(checkpoint))
        teacher.classes = named.names if named else None
        return teacher

    @classmethod
    def from_run(cls, folder: str | Path, device: str = "cpu") -> DetectorTeacher:
        """Load the detector of a finished run from its config and student.pth; nothing of the folder is executed.

        Raises:
            InputError: the run is not finished, or see `from_parts`.
        """
        run = RunFolder(Path(folder))
        for path in (run.config, run.student):
            if not path.exists():
                raise InputError(f"detector teacher {run.id} has no {path.name}; finish it first: c2d train {run.path}")
        return cls.from_parts(read_run_config(run), run.student, device)

    @property
    def module(self) -> nn.Module:
        """The module that runs."""
        return self.network

    def normalize(self, images: Tensor, src: Normalization) -> Tensor:
        """Convert images (B, 3, H, W) from the normalization `src` to the teacher's."""
        return renormalize(images, src, self.normalization)

    @torch.no_grad()
    def outputs(self, batch: Batch, needs: Needs) -> DetectorOutputs:
        """Compute the teacher's outputs for a batch, only as deep as needed: one forward pass for all methods.

        Images are converted to the teacher's normalization. The padding is set to zero again afterwards, because every
        detector pads after its normalization. The second stage runs later, on RoIs of the student (`roi_stage`).

        Args:
            batch: of the student.
            needs: outputs to compute.
        """
        detector: Any = self.network
        images = self.normalize(batch.images, batch.normalization)
        # Equal normalizations leave the padding at zero.
        if self.normalization != batch.normalization:
            images = _without_padding(images, batch)
        # Methods on the neck need no head: the pass ends at `extract_feat`.
        with hooks.record_outputs(self.network, feature_layers(self.network)) as recorded:
            maps = detector.extract_feat(images)
        dense, towers = None, None
        if needs.dense or needs.towers:
            head = dense_head(self.network)
            with record_towers(head, last=True) if needs.towers else nullcontext() as recorder:
                dense = read_dense_outputs(head, head(maps))
            towers = recorder.outputs() if recorder is not None else None
        queries = predict_queries(self.network, maps, batch) if needs.queries else None
        return DetectorOutputs(*split_maps(recorded), dense, queries=queries, towers=towers)

    def losses_on_maps(self, maps: Sequence[Tensor], batch: Batch, seed: int) -> Tensor:
        """Compute the teacher's own training loss on given maps, with their graph; its backbone and neck do not run.

        Args:
            maps: in place of those of its neck (without a neck, of its backbone).
            batch: of the student, with the ground truth.
            seed: of the sampling of anchors and RoIs, so that no other random number changes.

        Returns:
            The sum of its losses, a scalar.
        """
        network: Any = self.network
        head = dense_head(network)
        with (
            temporary_seed(seed),
            hooks.replace_method(network, "extract_feat", lambda _images: tuple(maps)),
            # FCOS predicts distances in strides while it trains, which its loss expects, and px otherwise. The layers
            # inside keep their eval mode.
            hooks.replace_method(head, "training", True),
        ):
            found = network.loss(batch.images, samples_with_boxes(batch))
        parts = [part for key, value in found.items() if "loss" in key
                 for part in (value if isinstance(value, list) else [value])]  # fmt: skip
        return torch.stack([part.mean() for part in parts]).sum()

    @torch.no_grad()
    def module_outputs(self, images: Tensor, names: Sequence[str]) -> dict[str, Any]:
        """Compute the outputs of named modules; the detector runs only to the deepest of them.

        mmdet calls the `forward` of dense heads directly, so their hooks do not run: name a part of the head, e.g.
        `bbox_head.retina_cls`. A part that is shared by all levels gives the output of the first level.

        Args:
            images: (B, 3, H, W) in the teacher's normalization.
            names: of `network.named_modules()`, e.g. `backbone.layer4` or `neck`.

        Raises:
            InputError: there is no such module, or the forward pass does not call it.
        """
        try:
            recorded = hooks.extract_outputs(_TensorMode(self.network), [f"network.{name}" for name in names], images)
        except KeyError as error:
            name = str(error.args[0]).removeprefix("network.")
            raise InputError(f"module {name} is never called itself; name a part of it, e.g. {name}.<part>") from None
        return {name.removeprefix("network."): output for name, output in recorded.items()}


class _TensorMode(nn.Module):
    """A detector that is called with a tensor alone, in mmdet's `tensor` mode."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.train(network.training)

    def forward(self, images: Tensor) -> Any:
        return self.network(images, samples_of_images(images), mode="tensor")


def _without_padding(images: Tensor, batch: Batch) -> Tensor:
    """Set the padding of each image to zero."""
    if all(size == tuple(images.shape[-2:]) for size in batch.sizes):
        return images
    rows = torch.arange(images.shape[2], device=images.device)[None, :, None]
    cols = torch.arange(images.shape[3], device=images.device)[None, None, :]
    sizes = torch.tensor(batch.sizes, device=images.device)[:, :, None, None]
    inside = (rows < sizes[:, 0]) & (cols < sizes[:, 1])
    return images * inside[:, None]
