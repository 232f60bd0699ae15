"""A frozen image classifier that is asked about crops.

It is a plain object, so the student's optimizer, DDP, EMA and checkpoints never see it.

Gradients flow through it to the crops and stop there; its own weights have none. It follows the autocast it is called
under.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from c2d.core.errors import InputError, unknown_name
from c2d.core.run_folder import RunFolder, read_json
from c2d.detectors import hooks
from c2d.detectors.normalization import Normalization, renormalize
from c2d.specs.spec import RunSpec, TeacherSchedule, parse_spec
from c2d.teachers.fused_inference import CPU_CHUNK, CPU_CHUNK_DEEP, LARGE, BlockConv, accelerate
from c2d.teachers.logit_cache import LogitCache
from c2d.teachers.networks import build_network, stages
from c2d.weights import safe_load


class ClassifierTeacher:
    """A classifier over the detector's C foreground classes, frozen and in eval mode.

    Attributes:
        network: the module that is run.
        classes: names, in the order of the logits.
        size: side of its crops in px.
        normalization: the normalisation its crops must have, see `normalize`.
        layers: names of its maps, finest first: l0, l1, ... (ResNets: l0 is the stem behind the max-pool).
        audit: what was loaded, None for a network given as it is.
        cache: logits of ground-truth crops seen before, where a run asks for it (`c2d.teachers.logit_cache`).
    """

    cache: LogitCache | None = None

    def __init__(
        self,
        network: nn.Module,
        classes: Sequence[str],
        size: int,
        normalization: Normalization,
        *,
        device: str | torch.device = "cpu",
        fast: bool = True,
        audit: safe_load.Audit | None = None,
    ) -> None:
        """`network` itself is left alone; a frozen copy is run, by default rewritten to be faster (see `fast.py`)."""
        self._stages = stages(network)
        frozen = accelerate(network, size) if fast else _frozen(network)
        self.network = frozen.to(device)
        # Only a rewritten stem brings its maps back from channels last by itself.
        self._rewritten = isinstance(getattr(frozen, "conv1", None), BlockConv)
        self.classes, self.size, self.normalization, self.audit = tuple(classes), size, normalization, audit
        self.layers = tuple(self._stages)

    @classmethod
    def from_parts(
        cls,
        network: str,
        weights: Path,
        classes: Sequence[str],
        size: int,
        normalization: Normalization,
        device: str = "cpu",
    ) -> ClassifierTeacher:
        """A network by name with a weight file of its stock keys, every key accounted for."""
        module = build_network(network, len(classes))
        audit = safe_load.load_into(module, weights, who="teacher", strict=True)
        return cls(module, classes, size, normalization, device=device, audit=audit)

    @classmethod
    def from_run(cls, folder: str | Path, device: str = "cpu") -> ClassifierTeacher:
        """The teacher of a finished classifier run: spec.json, result.json and classifier.pth of its folder.

        Raises:
            InputError: no classifier run, not finished, or weights that do not fit.
        """
        run = RunFolder(Path(folder))
        spec = parse_spec(read_json(run.spec), str(run.spec))
        recipe = spec.schedule.values
        if spec.kind != "classifier" or not isinstance(recipe, TeacherSchedule) or spec.network is None:
            raise InputError(
                f"run {run.id} trained a {spec.kind}; a classifier teacher is a run with a network: c2d train"
            )
        if not run.classifier.exists() or not run.result.exists():
            raise InputError(f"teacher {run.id} is not finished; finish it first: c2d train {run.path}")
        if spec.input is None:
            raise InputError(f"{run.spec} does not say the crop size (`input`); ask the question again with it")
        classes = read_json(run.result)["classes"]
        normalization = Normalization(recipe.normalisation.mean, recipe.normalisation.std, recipe.normalisation.order)
        return cls.from_parts(spec.network, run.classifier, classes, spec.input, normalization, device)

    @property
    def module(self) -> nn.Module:
        """The module that is run."""
        return self.network

    def to(self, device: str | torch.device) -> ClassifierTeacher:
        """Move it; returns itself."""
        self.network.to(device)
        return self

    def normalize(self, crops: Tensor, src: Normalization) -> Tensor:
        """Crops (K, 3, s, s) normalised as `src`, in the teacher's own normalisation."""
        return renormalize(crops, src, self.normalization)

    def logits(self, crops: Tensor) -> Tensor:
        """(K, 3, s, s) in the teacher's pixels -> (K, C) logits."""
        return torch.cat([self.network(part) for part in self._parts(crops, deep=True)])

    def features(self, crops: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Maps (K, M, h, w) of `layers`; the network runs only to the deepest of them.

        Raises:
            InputError: the network has no such layer.
        """
        if not layers:
            return {}
        names, deep = self._modules(layers), set(layers) != {self.layers[0]}
        found = [hooks.extract_outputs(self.network, names, part) for part in self._parts(crops, deep)]
        return self._joined(found, layers)

    def logits_and_features(self, crops: Tensor, layers: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """`logits` and `features` of one pass."""
        names, found, logits = self._modules(layers), [], []
        for part in self._parts(crops, deep=True):
            with hooks.record_outputs(self.network, names) as seen:
                logits.append(self.network(part))
            found.append(seen)
        return torch.cat(logits), self._joined(found, layers)

    def _parts(self, crops: Tensor, deep: bool) -> Sequence[Tensor]:
        """On a CPU few crops at a time, so that their maps stay in the cache; the values do not depend on it."""
        if self._rewritten or self.size >= LARGE:
            crops = crops.contiguous(memory_format=torch.channels_last)
        return crops.split(CPU_CHUNK_DEEP if deep else CPU_CHUNK) if crops.device.type == "cpu" else (crops,)

    def _modules(self, layers: Sequence[str]) -> list[str]:
        for layer in layers:
            if layer not in self._stages:
                raise unknown_name(
                    f"layer of {type(self.network).__name__}", layer, self.layers, "`crop` is the crop itself, no layer"
                )
        return [self._stages[layer] for layer in layers]

    def _joined(self, found: Sequence[dict[str, Any]], layers: Sequence[str]) -> dict[str, Tensor]:
        return {layer: torch.cat([seen[self._stages[layer]] for seen in found]) for layer in layers}


def check_teacher(result: dict[str, Any], spec: RunSpec) -> None:
    """Refuse a teacher whose top-1 on held-out crops is below the `min_top1` of its own schedule.

    Args:
        result: result.json of the classifier run.
        spec: its spec.json.

    Raises:
        InputError: below, or without any held-out crop.
    """
    recipe = spec.schedule.values
    if not isinstance(recipe, TeacherSchedule):
        raise InputError(
            f"run {spec.id} is no classifier teacher (kind {spec.kind}); give a run that trained a network"
        )
    top1 = result.get("top1")
    if top1 is None:
        raise InputError(
            f"teacher {spec.id} was scored on no held-out crop; its data set needs a `val` split with boxes"
        )
    if top1 < recipe.min_top1:
        raise InputError(
            f"teacher {spec.id} has top-1 {top1:.3f} on held-out crops, below "
            f"min_top1 {recipe.min_top1:.3f} of {spec.schedule.name}; "
            "a student would learn its mistakes: train it longer, or lower min_top1 if that is what you want to study"
        )


def _frozen(network: nn.Module) -> nn.Module:
    import copy

    return copy.deepcopy(network).eval().requires_grad_(False)
