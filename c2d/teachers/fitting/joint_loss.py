"""The two losses of a classifier teacher, which give its logits both meanings: softmax and sigmoid.

    ce   (1/K) sum_k  -log softmax(z_k)[y_k]
    bce  (1/K) sum_k (1/C) sum_c  BCE(sigmoid(z_kc), 1 if c == y_k else 0)

The paper trains one teacher with both jointly; the mean over classes is ours (the paper does not specify it).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def joint_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the softmax and the sigmoid cross-entropy, unweighted.

    Args:
        logits: (K, C).
        labels: (K,) long.

    Returns:
        Two scalars: ce, bce.
    """
    target = F.one_hot(labels, logits.shape[1]).to(logits.dtype)
    return F.cross_entropy(logits, labels), F.binary_cross_entropy_with_logits(logits, target)
