"""The model that a classifier-teacher run trains: a network on the crops of every ground-truth box of a batch.

It takes what a detector takes (images and boxes, the same pipeline, engine and checkpoints), so that nothing else has
to know about classifiers. Only the weights of `network`, under their stock keys, are exported.

The paper trains one teacher with a softmax and a sigmoid loss jointly, so that its logits can be read either way:

    loss_ce  = w_ce  * (1/K) sum_k  -log softmax(z_k)[y_k]
    loss_bce = w_bce * (1/K) sum_k (1/C) sum_c  BCE(sigmoid(z_kc), 1 if c == y_k else 0)

K crops of the batch, C classes, no background. The weights and the mean over classes are ours (the paper does not say).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from c2d.core.errors import InputError
from c2d.detectors import compat
from c2d.detectors.batch import batch_from_mmdet
from c2d.detectors.finite_losses import FiniteLosses
from c2d.detectors.normalization import Normalization
from c2d.teachers import crop_sampling
from c2d.teachers.fused_inference import LARGE
from c2d.teachers.networks import build_network

#: Networks halve their maps five times; below this side nothing is left of a crop.
MIN_INPUT = 32
#: A step trains on a multiple of so many crops; see `crops.rounded`.
TRAINED_TOGETHER = 16


class CropClassifier(FiniteLosses):
    """A C-way classifier, trained on the ground-truth crops of detection batches.

    Args:
        network: a torchvision name or `timm:NAME`; random weights (`c2d.weights.pretrained.initialise` brings others).
        num_classes: C.
        input: side of the crops in px.
        loss: weights {ce, bce}.
        per_image: at most so many boxes of an image and step, or None for all.
        normalisation: {mean, std, order} of the pixels, on the 0-255 scale.
    """

    def __init__(
        self,
        network: str,
        num_classes: int,
        input: int,  # the key of spec.json
        loss: Mapping[str, float] | None = None,
        per_image: int | None = None,
        normalisation: Mapping[str, Any] | None = None,
    ) -> None:
        if input is None or input < MIN_INPUT:
            raise InputError(f"classifier input {input} px; give `input`, at least {MIN_INPUT} (the paper's is 112)")
        compat.prepare()
        from mmdet.models import DetDataPreprocessor

        from c2d.detectors.normalization import IMAGENET

        normalization = IMAGENET if normalisation is None else of_recipe(normalisation)
        super().__init__(
            DetDataPreprocessor(
                mean=list(normalization.mean), std=list(normalization.std), bgr_to_rgb=normalization.order == "rgb"
            )
        )
        self.network = build_network(network, num_classes)
        # Measured on a CPU: channels last trains large crops faster and small ones slower. Keys and values are the
        # same.
        self.layout = torch.channels_last if input >= LARGE else torch.contiguous_format
        self.network.to(memory_format=self.layout)
        self.num_classes, self.size, self.per_image, self.normalization = num_classes, input, per_image, normalization
        self.weights = {"ce": 1.0, "bce": 1.0, **(loss or {})}
        self.iteration = 0  # set by the training loop

    def forward(self, inputs: Tensor, data_samples: Any = None, mode: str = "tensor") -> Any:
        """mode `loss`: dict of losses; `predict`: `crops_logits`; `tensor`: logits of crops (K, 3, s, s)."""
        if mode == "loss":
            return self.loss(inputs, data_samples)
        if mode == "predict":
            return self.crops_logits(inputs, data_samples)
        logits: Tensor = self.network(inputs)
        return logits

    def loss(self, inputs: Tensor, data_samples: Any) -> dict[str, Tensor]:
        """loss_ce and loss_bce (weighted), and the observations acc (0-1) and crops (their number)."""
        batch = batch_from_mmdet(inputs, data_samples, self.normalization, self.num_classes)
        chosen = crop_sampling.rounded(crop_sampling.choose(batch, self.per_image), TRAINED_TOGETHER)
        count = len(chosen.labels)
        if count == 0:
            # Attached to every weight, so that DDP finds each of them used.
            nothing = sum(weight.sum() * 0.0 for weight in self.network.parameters())
            assert isinstance(nothing, Tensor)
            return {"loss_ce": nothing, "loss_bce": nothing, "crops": nothing.detach()}
        pixels = crop_sampling.cut(batch, chosen, self.size).contiguous(memory_format=self.layout)
        if count == 1:
            # Batch norm cannot train on one crop whose last map is a single cell; twice the same changes no mean.
            pixels = pixels.repeat(2, 1, 1, 1)
        logits = self.network(pixels)[:count].float()
        ce, bce = joint_loss(logits, chosen.labels)
        right = (logits.detach().argmax(dim=1) == chosen.labels).float().mean()
        return {
            "loss_ce": self.weights["ce"] * ce,
            "loss_bce": self.weights["bce"] * bce,
            "acc": right,
            "crops": logits.new_tensor(float(count)),
        }

    @torch.no_grad()
    def crops_logits(self, inputs: Tensor, data_samples: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Every ground-truth crop scored: logits (K, C) fp32, labels (K,), area (K,) in px^2 of the batch tensor.

        For held-out scoring: no box is left out but those with a side below 2 px; call `eval()` first.
        """
        batch = batch_from_mmdet(inputs, data_samples, self.normalization, self.num_classes)
        chosen = crop_sampling.choose(batch)
        if len(chosen.labels) == 0:
            return inputs.new_zeros(0, self.num_classes), chosen.labels, chosen.areas()
        pixels = crop_sampling.cut(batch, chosen, self.size).contiguous(memory_format=self.layout)
        return self.network(pixels).float(), chosen.labels, chosen.areas()


def joint_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(softmax, sigmoid) cross-entropy of logits (K, C) and labels (K,), unweighted means; see the head of the file."""
    ce = F.cross_entropy(logits, labels)
    target = F.one_hot(labels, logits.shape[1]).to(logits.dtype)
    return ce, F.binary_cross_entropy_with_logits(logits, target)


def of_recipe(recipe: Mapping[str, Any]) -> Normalization:
    """The Normalization of a {mean, std, order} mapping."""
    mean, std = tuple(recipe["mean"]), tuple(recipe["std"])
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise InputError(
            f"normalisation {dict(recipe)}: give three means and three positive standard deviations (0-255)"
        )
    return Normalization(mean, std, recipe.get("order", "rgb"))
