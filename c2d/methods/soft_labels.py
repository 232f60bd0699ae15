"""Soft labels of impressions: Zero-Shot Knowledge Distillation. Nayak, Mopuri, Shaj, Babu, Chakraborty, ICML 2019.

https://arxiv.org/abs/1905.08114 (ZSKD), for detectors as "Beyond Classification: Knowledge Distillation using
Multi-Object Impressions", Nayak et al., BMVC 2021, https://arxiv.org/abs/2110.14215 (MOI).
ZSKD draws soft labels from a Dirichlet distribution around the similarity of the teacher's classes, synthesises an
image for each, and trains a student on the pairs. Here the class scores of the student's positives learn the soft
label y of the object that each is assigned to, instead of a teacher's output; no teacher runs in the training:

    L = L_det + lambda_soft soft

    soft, softmax heads   mean over positives of T^2 KL([(1 - b) y, b] || sm(z / T)), background last
    soft, sigmoid heads   mean over positives of T^2 sum_c KL(Bernoulli(y_c) || Bernoulli(sigma(z_c / T)))

y has one number for each foreground class and the sum 1; b is what the background gets of it, 0 by default, so the
student learns that an object is there.

A reconstruction, all numbers are unverified; departures and assumptions:
  * ZSKD is about classifiers, and was not read beyond its description. Of MOI only the abstract was read: that its
    targets have soft labels, and that its student learns them in this way, is an assumption.
  * The student's own losses keep the hard label and their weight; in ZSKD the soft label is the only one.
  * y is as the data set has it: T divides the student's logits alone. ZSKD is described with a temperature of 20 in
    both of its steps, which belongs to soft labels that were drawn for it; 1 here.
  * Positives alone learn; negatives have no object, and learn the background by the student's own loss.
  * Sigmoid heads have a probability for each class, which learns its entry of y. GFL's scores also say how well the box
    fits: its own loss wants the IoU of the box for the label's class, this term wants y whatever the box.
  * Cascades: the mean over the stages, since their scores are averaged in a test.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from c2d.detectors import heads
from c2d.detectors.outputs import Needs
from c2d.methods.base import Context, Distiller, Params, Term, View, Visualization, unverified


class SoftLabelsParams(Params):
    """Weight, temperature and the share of the background; every value is unverified."""

    lambda_soft: float = Field(
        default=1.0, ge=0, description="weight of the soft labels", json_schema_extra=unverified("no value is known")
    )
    T: float = Field(
        default=1.0, gt=0, description="temperature of the student's logits; the term has the factor T^2",
        json_schema_extra=unverified("1 is ours; ZSKD's 20 belongs to soft labels that were drawn for it"),
    )  # fmt: skip
    background: float = Field(
        default=0.0, ge=0, lt=1, description="b: share of the background class in the soft label; softmax heads only",
        json_schema_extra=unverified("ours"),
    )  # fmt: skip


class SoftLabels(Distiller):
    """Students whose positives are known, on data with soft labels. Term `soft`."""

    NAME = "soft_labels"
    VERSION = 1
    TEACHERS = ()
    SOFT_LABELS = True
    Params = SoftLabelsParams
    WEIGHTS: ClassVar = {"soft": "lambda_soft"}
    DETECTORS = heads.WITH_POSITIVES
    COST = "one softmax or sigmoid of each positive"
    SOURCE = "description of ZSKD, abstract of MOI; a reconstruction, every number unverified"
    needs = Needs(positives=True)
    roi_stages = "all"

    def __init__(self, params: SoftLabelsParams, _context: Context) -> None:
        super().__init__(params)

    def forward(self, view: View) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Compute the divergence of the student's class scores from the soft labels.

        Args:
            view: one training step: the student's positives with logits (K, C or C + 1), and the soft labels of the
                ground truth, per image (G, C).

        Returns:
            Scalars in fp32: the trained term `soft`, and the observed number of positives and the share of them whose
            highest score is that of the soft label's highest entry, 0-1.
        """
        p, batch = self.params, view.batch
        if batch.soft_labels is None:
            raise RuntimeError("the batch has no soft labels; train on a data set whose annotations have them")
        labels, first = torch.cat(batch.soft_labels), batch.offsets()
        terms, agreed = [], []
        for stage in view.positives:
            # `gt` counts inside the image; the offset of the image makes it a row of all boxes.
            y, z = labels[first[stage.image] + stage.gt], stage.logits.float()
            rows = kl_softmax(z, y, p.background, p.T) if stage.kind == "softmax" else kl_bernoulli(z, y, p.T)
            # Without a positive the zero hangs on the student's graph: under DDP every weight takes part.
            terms.append(rows.mean() if len(rows) else 0 * z.sum())
            agreed.append((z.detach()[:, : y.shape[1]].argmax(1) == y.argmax(1)).float())
        everyone = torch.cat(agreed)
        seen = {"positives": torch.tensor(float(len(everyone)), device=batch.images.device)}
        if len(everyone):
            seen["agreement"] = everyone.mean()
        return {"soft": Term(torch.stack(terms).mean(), p.lambda_soft)}, seen

    def visualize(self, view: View) -> list[Visualization]:
        """Show the boxes that the positives predict."""
        last = view.positives[-1]
        images = range(len(view.batch.boxes))
        return [Visualization("positives", boxes=[last.boxes[last.image == i].detach() for i in images])]


def kl_softmax(z: Tensor, y: Tensor, background: float, T: float) -> Tensor:
    """T^2 KL([(1 - b) y, b] || sm(z / T)) of logits z (K, C + 1), background last, and y (K, C): (K,)."""
    target = torch.cat([(1 - background) * y, torch.full_like(y[:, :1], background)], dim=1)
    # xlogy makes 0 log 0 = 0, in the value and in the gradient.
    return T**2 * (torch.xlogy(target, target) - target * F.log_softmax(z / T, dim=1)).sum(1)


def kl_bernoulli(z: Tensor, y: Tensor, T: float) -> Tensor:
    """T^2 sum_c KL(Bernoulli(y_c) || Bernoulli(sigma(z_c / T))) of logits z and y, both (K, C): (K,)."""
    y = y.clamp(0, 1)  # a soft label may be 1 + 1e-4 by rounding
    cross = F.binary_cross_entropy_with_logits(z / T, y, reduction="none")
    return T**2 * (cross + torch.xlogy(y, y) + torch.xlogy(1 - y, 1 - y)).sum(1)
