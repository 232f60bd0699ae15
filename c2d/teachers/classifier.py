"""A frozen image classifier as a teacher: logits and feature maps of crops.

Gradients flow through it to the crops; its own weights have none. It runs under the autocast of its caller.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from c2d.configs.run_config import read_run_config, verify_run_files
from c2d.core.errors import InputError, first_line, unknown_name
from c2d.core.run_folder import RunFolder, read_json
from c2d.detectors import hooks
from c2d.detectors.normalization import Normalization, renormalize
from c2d.specs.schedule import TeacherRecipe
from c2d.specs.spec import RunSpec, parse_spec
from c2d.teachers.fused_inference import CPU_CHUNK, CPU_CHUNK_DEEP, LARGE, BlockConv, fuse_for_inference
from c2d.teachers.layers import RUN_ERRORS, as_map, has_channels_last, layer_modules, prefix_tokens
from c2d.teachers.logit_cache import LogitCache
from c2d.teachers.networks import build_fitted_network
from c2d.weights import safe_load
from c2d.weights.audit import Audit


class ClassifierTeacher:
    """A classifier over the detector's C foreground classes, frozen and in eval mode.

    Attributes:
        network: the frozen module that runs.
        classes: names, in the order of the logits.
        size: side of its crops in px.
        normalization: of the crops that it takes, see `normalize`.
        layers: names of its maps, finest first: l0, l1, ... (see `c2d.teachers.layers`).
        module_of_layer: {layer: module of the network}.
        temperature: its logits are divided by it; 1 for a teacher that was not calibrated.
        audit: which keys were loaded; None for a network given as a module.
        context: of the boxes that are cropped for it, see `c2d.ops.crop.crop_and_resize`.
        cache: stored logits of ground-truth crops, with `--cache-teacher` (`c2d.teachers.logit_cache`).
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
        fused: bool = True,
        audit: Audit | None = None,
        context: float = 0.0,
        temperature: float = 1.0,
    ) -> None:
        """Freeze a copy of `network`; with `fused` it is rewritten to run faster (see `fused_inference`)."""
        self.module_of_layer = layer_modules(network, size)
        self._prefix, self._channels_last = prefix_tokens(network), has_channels_last(network)
        frozen = fuse_for_inference(network, size) if fused else _frozen(network)
        self.network = frozen.to(device)
        # Only a fused stem converts its maps back from channels last by itself.
        self._fused_stem = isinstance(getattr(frozen, "conv1", None), BlockConv)
        self.classes, self.size, self.normalization, self.audit = tuple(classes), size, normalization, audit
        self.layers, self.context, self.temperature = tuple(self.module_of_layer), context, temperature

    @classmethod
    def from_parts(
        cls,
        network: str,
        weights: Path,
        classes: Sequence[str],
        size: int,
        normalization: Normalization,
        device: str = "cpu",
        *,
        context: float = 0.0,
        text_length: int | None = None,
        temperature: float = 1.0,
        backbone: Mapping[str, Any] | None = None,
    ) -> ClassifierTeacher:
        """Build a network by name and load a weight file with its stock keys; every key has to fit.

        Args:
            network: see `build_network`.
            weights: file.
            classes: names, in the order of the logits.
            size: side of the crops in px.
            normalization: of the crops.
            device: of the teacher.
            context: of the crops.
            text_length: see `build_fitted_network`.
            temperature: of its logits.
            backbone: see `build_network`.
        """
        module = build_fitted_network(network, len(classes), size, text_length, backbone)
        audit = safe_load.load_into(module, weights, who="teacher", strict=True)
        return cls(
            module,
            classes,
            size,
            normalization,
            device=device,
            audit=audit,
            context=context,
            temperature=temperature,
        )

    @classmethod
    def from_run(cls, folder: str | Path, device: str = "cpu") -> ClassifierTeacher:
        """Load the teacher of a finished classifier run from spec.json, result.json and classifier.pth of its folder.

        Raises:
            InputError: the run trained no classifier, is not finished, or its weights do not fit.
        """
        run = RunFolder(Path(folder))
        spec = parse_spec(read_json(run.spec), str(run.spec))
        recipe = spec.schedule.values
        if spec.kind != "classifier" or not isinstance(recipe, TeacherRecipe) or spec.network is None:
            raise InputError(
                f"run {run.id} trained a {spec.kind}; a classifier teacher is a run with a network: c2d train"
            )
        if not run.classifier.exists() or not run.result.exists():
            raise InputError(f"teacher {run.id} is not finished; finish it first: c2d train {run.path}")
        if spec.input is None:
            raise InputError(f"{run.spec} has no crop size (`input`); train the teacher again from a spec that has one")
        verify_run_files(run)
        result = read_json(run.result)
        classes, temperature = result["classes"], calibrated_temperature(result)
        normalization = Normalization(recipe.normalisation.mean, recipe.normalisation.std, recipe.normalisation.order)
        # Only these networks need more than their name.
        model = read_run_config(run)["model"] if spec.text_embeddings or spec.student else {}
        return cls.from_parts(
            spec.network,
            run.classifier,
            classes,
            spec.input,
            normalization,
            device,
            context=recipe.crops.context,
            text_length=model.get("text_length"),
            temperature=temperature,
            backbone=model.get("backbone"),
        )

    @property
    def module(self) -> nn.Module:
        """The module that runs."""
        return self.network

    def to(self, device: str | torch.device) -> ClassifierTeacher:
        """Move the network to `device`; return self."""
        self.network.to(device)
        return self

    def normalize(self, crops: Tensor, src: Normalization) -> Tensor:
        """Convert crops (K, 3, s, s) from the normalization `src` to the teacher's."""
        return renormalize(crops, src, self.normalization)

    def logits(self, crops: Tensor) -> Tensor:
        """Compute the logits (K, C), by the temperature, of crops (K, 3, s, s) in the teacher's normalization."""
        return self._tempered(torch.cat([self.network(part) for part in self._parts(crops, deep=True)]))

    def features(self, crops: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Compute feature maps; the network runs only to the deepest layer needed.

        Args:
            crops: (K, 3, s, s) in the teacher's normalization.
            layers: names, see `layers`.

        Returns:
            Layer -> (K, M, h, w).

        Raises:
            InputError: the network has no such layer.
        """
        if not layers:
            return {}
        names, deep = self._module_names(layers), set(layers) != {self.layers[0]}
        parts = [hooks.extract_outputs(self.network, names, part) for part in self._parts(crops, deep)]
        return self._concatenate(parts, layers)

    def logits_and_features(self, crops: Tensor, layers: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute logits (K, C) and maps (K, M, h, w) of crops (K, 3, s, s) in one forward pass; see `features`."""
        names, parts, logits = self._module_names(layers), [], []
        for part in self._parts(crops, deep=True):
            with hooks.record_outputs(self.network, names) as outputs:
                logits.append(self.network(part))
            parts.append(outputs)
        return self._tempered(torch.cat(logits)), self._concatenate(parts, layers)

    def map_sides(self, layers: Sequence[str], size: int) -> dict[str, int]:
        """Measure the maps of crops of `size` px.

        Args:
            layers: names, see `layers`; may be empty.
            size: px.

        Returns:
            Layer -> side h of its map (M, h, h).

        Raises:
            InputError: the network cannot process crops of this size, or has no such layer.
        """
        weight = next(self.network.parameters())
        crops = torch.zeros(1, 3, size, size, dtype=weight.dtype, device=weight.device)
        try:
            with torch.no_grad():
                _, maps = self.logits_and_features(crops, layers)
        except RUN_ERRORS as error:
            raise InputError(
                f"the classifier teacher was built for crops of {self.size} px and cannot process {size} px "
                f"({first_line(error)}); leave out the size of the crops, which is then the teacher's"
            ) from None
        return {layer: found.shape[-1] for layer, found in maps.items()}

    def _tempered(self, logits: Tensor) -> Tensor:
        return logits if self.temperature == 1 else logits / self.temperature

    def _parts(self, crops: Tensor, deep: bool) -> Sequence[Tensor]:
        """Split crops on a CPU, so that the maps of one part fit into the CPU cache; values do not depend on it."""
        # The same cases as in `fuse_for_inference`.
        if self._fused_stem or self.size >= LARGE:
            crops = crops.contiguous(memory_format=torch.channels_last)
        return crops.split(CPU_CHUNK_DEEP if deep else CPU_CHUNK) if crops.device.type == "cpu" else (crops,)

    def _module_names(self, layers: Sequence[str]) -> list[str]:
        for layer in layers:
            if layer not in self.module_of_layer:
                raise unknown_name(
                    f"layer of {type(self.network).__name__}", layer, self.layers, "`crop` is the crop itself, no layer"
                )
        return [self.module_of_layer[layer] for layer in layers]

    def _concatenate(self, parts: Sequence[dict[str, Any]], layers: Sequence[str]) -> dict[str, Tensor]:
        return {
            layer: torch.cat([self._map(outputs[self.module_of_layer[layer]]) for outputs in parts]) for layer in layers
        }

    def _map(self, output: Any) -> Tensor:
        found = as_map(output, self._prefix, self._channels_last)
        assert found is not None  # `layer_modules` has chosen modules with maps
        return found


def calibrated_temperature(result: dict[str, Any]) -> float:
    """Return the temperature of a classifier's result.json; 1 if it was not calibrated."""
    calibration = result.get("calibration")
    return 1.0 if calibration is None else float(calibration["temperature"])


def check_teacher_accuracy(result: dict[str, Any], spec: RunSpec) -> None:
    """Check that a teacher's top-1 on held-out crops reaches the `min_top1` of its own schedule.

    Args:
        result: result.json of the classifier run.
        spec: its spec.json.

    Raises:
        InputError: it is below, or there are no held-out crops.
    """
    recipe = spec.schedule.values
    if not isinstance(recipe, TeacherRecipe):
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
            "a student would learn its errors: train it longer, or lower min_top1 if that is what you want to study"
        )


def _frozen(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network).eval().requires_grad_(False)
