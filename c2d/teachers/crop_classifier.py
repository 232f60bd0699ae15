"""Model that trains a classifier teacher: a network on the crops of the ground-truth boxes of a batch.

Its inputs are those of a detector (images and boxes), so it uses the same data pipeline, training loop and checkpoints.
Only the weights of `network`, under their stock keys, are exported.

It is trained with a softmax and a sigmoid loss jointly (`c2d.teachers.fitting.joint_loss`), on the K crops of the batch
and C classes, no background. The weights of the two are ours (the paper does not specify them).

With another `fit` than full only the last layer belongs to the data set's classes. The trunk before it stays frozen and
in eval mode: its batch norms use and keep the statistics of the weights that it was given, its dropouts are off.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from c2d.core.errors import InputError
from c2d.detectors import compat
from c2d.detectors.batch import batch_from_mmdet
from c2d.detectors.finite_losses import FiniteLosses
from c2d.detectors.normalization import IMAGENET, Normalization
from c2d.specs.schedule import Fit
from c2d.teachers import crop_sampling
from c2d.teachers.fitting.head_layer import head_name, record_inputs
from c2d.teachers.fitting.joint_loss import joint_loss
from c2d.teachers.fitting.linear_probe import LinearLayer
from c2d.teachers.fitting.text_embeddings import TextEmbeddings
from c2d.teachers.fitting.zero_shot import CosineHead
from c2d.teachers.fused_inference import LARGE
from c2d.teachers.networks import build_fitted_network, check_input

CROP_MULTIPLE = 16
"""The number of crops of a step is a multiple of this; see `crop_sampling.truncate_to_multiple`."""


class CropClassifier(FiniteLosses):
    """A C-way classifier, trained on the ground-truth crops of detection batches.

    Args:
        network: a torchvision name, `timm:NAME` or `student:NAME`; random weights, `c2d.weights.pretrained.initialise`
            loads others.
        num_classes: C.
        input: side of the crops in px.
        loss: weights {ce, bce}.
        per_image: maximum number of boxes per image and step; None: all.
        normalisation: {mean, std, order}, on the 0-255 scale.
        context: of the crops, see `c2d.ops.crop.crop_and_resize`.
        fit: see `c2d.specs.schedule.TeacherRecipe`.
        text_length: with fit zero-shot the numbers of a text embedding.
        backbone: config of the backbone of a network `student:NAME`.

    Attributes:
        head: name of the last layer in `network` with fit head and linear-probe, else "".
    """

    def __init__(
        self,
        network: str,
        num_classes: int,
        input: int,  # the key of spec.json
        loss: Mapping[str, float] | None = None,
        per_image: int | None = None,
        normalisation: Mapping[str, Any] | None = None,
        context: float = 0.0,
        fit: Fit = "full",
        text_length: int | None = None,
        backbone: Mapping[str, Any] | None = None,
    ) -> None:
        check_input(input)
        compat.prepare()
        from mmdet.models import DetDataPreprocessor

        normalization = IMAGENET if normalisation is None else normalization_from_recipe(normalisation)
        super().__init__(
            DetDataPreprocessor(
                mean=list(normalization.mean), std=list(normalization.std), bgr_to_rgb=normalization.order == "rgb"
            )
        )
        self.network = build_fitted_network(network, num_classes, input, text_length, backbone)
        self.fit, self.context = fit, context
        self.head = head_name(self.network, input) if fit in ("head", "linear-probe") else ""
        if fit != "full":
            self.network.requires_grad_(False)
        if fit == "head":
            self.network.get_submodule(self.head).requires_grad_(True)
        # Measured on a CPU: channels last trains large crops faster and small ones slower. Keys and values are equal.
        self.memory_format = torch.channels_last if input >= LARGE else torch.contiguous_format
        self.network.to(memory_format=self.memory_format)
        self.num_classes, self.size, self.per_image, self.normalization = num_classes, input, per_image, normalization
        self.weights = {"ce": 1.0, "bce": 1.0, **(loss or {})}
        self.iteration = 0  # set by the training loop

    @property
    def trained_module(self) -> nn.Module | None:
        """The part whose weights the optimizer gets, where that is not the whole model."""
        return self.network.get_submodule(self.head) if self.fit == "head" else None

    def train(self, mode: bool = True) -> CropClassifier:
        """Set the mode; a frozen trunk stays in eval mode, and the last layer, which is linear, has none."""
        super().train(mode)
        if self.fit != "full":
            self.network.eval()
        return self

    def forward(self, inputs: Tensor, data_samples: Any = None, mode: str = "tensor") -> Any:
        """Run in one of mmengine's modes.

        Args:
            inputs: (B, 3, H, W) images; in mode `tensor` crops (K, 3, s, s).
            data_samples: B mmdet data samples; unused in mode `tensor`.
            mode: `loss`: see `loss`; `predict`: see `crop_logits`; `tensor`: logits (K, C).
        """
        if mode == "loss":
            return self.loss(inputs, data_samples)
        if mode == "predict":
            return self.crop_logits(inputs, data_samples)
        logits: Tensor = self.network(inputs)
        return logits

    def loss(self, inputs: Tensor, data_samples: Any) -> dict[str, Tensor]:
        """Compute the weighted losses on the crops of a batch.

        Args:
            inputs: (B, 3, H, W) images.
            data_samples: B mmdet data samples.

        Returns:
            Scalars: loss_ce, loss_bce, and the observations acc (accuracy, 0-1) and crops (their number).
        """
        batch = batch_from_mmdet(inputs, data_samples, self.normalization, self.num_classes)
        sampled = crop_sampling.truncate_to_multiple(crop_sampling.sample_boxes(batch, self.per_image), CROP_MULTIPLE)
        count = len(sampled.labels)
        if count == 0:
            # With a graph to every weight, because DDP waits for the gradient of each of them.
            zero = sum(weight.sum() * 0.0 for weight in self.network.parameters())
            assert isinstance(zero, Tensor)
            return {"loss_ce": zero, "loss_bce": zero, "crops": zero.detach()}
        crops = crop_sampling.crop_boxes(batch, sampled, self.size, self.context).contiguous(
            memory_format=self.memory_format
        )
        if count == 1:
            # Batch norm fails on one crop whose last map is a single cell; repeating the crop changes no mean.
            crops = crops.repeat(2, 1, 1, 1)
        logits = self.network(crops)[:count].float()  # the losses in fp32 under autocast too
        ce, bce = joint_loss(logits, sampled.labels)
        accuracy = (logits.detach().argmax(dim=1) == sampled.labels).float().mean()
        return {
            "loss_ce": self.weights["ce"] * ce,
            "loss_bce": self.weights["bce"] * bce,
            "acc": accuracy,
            "crops": logits.new_tensor(float(count)),
        }

    @torch.no_grad()
    def crop_logits(self, inputs: Tensor, data_samples: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the logits of all ground-truth crops, for held-out scoring; call `eval()` first.

        Boxes with a side below 2 px are left out.

        Args:
            inputs: (B, 3, H, W) images.
            data_samples: B mmdet data samples.

        Returns:
            Logits (K, C) fp32, labels (K,) long, areas (K,) in px^2 of the batch tensor.
        """
        batch = batch_from_mmdet(inputs, data_samples, self.normalization, self.num_classes)
        sampled = crop_sampling.sample_boxes(batch)
        if len(sampled.labels) == 0:
            return inputs.new_zeros(0, self.num_classes), sampled.labels, sampled.areas()
        crops = crop_sampling.crop_boxes(batch, sampled, self.size, self.context).contiguous(
            memory_format=self.memory_format
        )
        return self.network(crops).float(), sampled.labels, sampled.areas()

    @torch.no_grad()
    def crop_features(self, inputs: Tensor, data_samples: Any, flips: bool) -> tuple[Tensor, Tensor]:
        """Compute the inputs of the last layer for all ground-truth crops; call `eval()` first.

        Args:
            inputs: (B, 3, H, W) images.
            data_samples: B mmdet data samples.
            flips: append the mirrored crops.

        Returns:
            Features (K, D) fp32, labels (K,) long; with `flips` 2 K rows, the mirrored crops after the others.
        """
        batch = batch_from_mmdet(inputs, data_samples, self.normalization, self.num_classes)
        sampled = crop_sampling.sample_boxes(batch)
        head = self.network.get_submodule(self.head)
        if len(sampled.labels) == 0:
            return inputs.new_zeros(0, int(head.in_features)), sampled.labels  # type: ignore[arg-type]
        crops = crop_sampling.crop_boxes(batch, sampled, self.size, self.context)
        views = [crops, crops.flip(-1)] if flips else [crops]
        with record_inputs(head) as features:
            for view in views:
                self.network(view.contiguous(memory_format=self.memory_format))
        return torch.cat(features).float(), sampled.labels.repeat(len(views))

    @torch.no_grad()
    def set_head(self, layer: LinearLayer) -> None:
        """Copy a solution into the last layer."""
        head = self.network.get_submodule(self.head)
        assert isinstance(head, nn.Linear)
        head.weight.copy_(layer.weight)
        head.bias.copy_(layer.bias)

    def set_text(self, embeddings: TextEmbeddings) -> None:
        """Copy text embeddings of the classes into the last layer of a zero-shot classifier.

        Raises:
            InputError: the weights of the tower gave no projection, see `CosineHead.set_text`.
        """
        head = next(module for module in self.network.modules() if isinstance(module, CosineHead))
        head.set_text(embeddings)


def normalization_from_recipe(recipe: Mapping[str, Any]) -> Normalization:
    """Convert a {mean, std, order} mapping to a `Normalization`.

    Raises:
        InputError: not three means and three positive standard deviations.
    """
    mean, std = tuple(recipe["mean"]), tuple(recipe["std"])
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise InputError(
            f"normalisation {dict(recipe)}: give three means and three positive standard deviations (0-255)"
        )
    return Normalization(mean, std, recipe.get("order", "rgb"))
