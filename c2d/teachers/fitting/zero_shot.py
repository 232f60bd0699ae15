"""The last layer of a zero-shot classifier: cosines between an image embedding and embeddings of the class names.

    z_c = scale <P f / ||P f||, t_c> + bias

f are the features of the image tower, P its projection to the space of the text, t_c the embedding of the name of class
c, of length 1; scale and bias are those of the text file: CLIP learns a scale alone, SigLIP a bias, too. CLIP: Radford
et al., ICML 2021, arXiv 2103.00020. SigLIP: Zhai et al., ICCV 2023, arXiv 2303.15343.

P is the tower's own last linear layer. timm keeps CLIP's projection there; SigLIP's towers have none, and P is the
identity.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from c2d.core.errors import InputError
from c2d.teachers.fitting.head_layer import head_name
from c2d.teachers.fitting.text_embeddings import TextEmbeddings


class CosineHead(nn.Linear):
    """Cosines with one embedding a class, of features that are projected first.

    Weight and bias are those of the projection and keep their keys, so that a weight file of the tower fits. The text
    side are buffers: nothing of it is trained.
    """

    text: Tensor
    scale: Tensor
    logit_bias: Tensor

    def __init__(self, features: int, length: int, classes: int) -> None:
        """Start with the identity as projection, or with zeros where the lengths differ: weights have to replace those.

        Args:
            features: D, of the tower.
            length: E, numbers of an embedding.
            classes: C.
        """
        super().__init__(features, length)
        with torch.no_grad():
            self.weight.copy_(torch.eye(length) if features == length else torch.zeros(length, features))
            self.bias.zero_()
        self.register_buffer("text", torch.zeros(classes, length))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("logit_bias", torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits (K, C) of features (K, D)."""
        image = F.normalize(super().forward(features), dim=-1)
        return F.linear(image, self.text) * self.scale + self.logit_bias

    @torch.no_grad()
    def set_text(self, embeddings: TextEmbeddings) -> None:
        """Copy the text side into the layer.

        Args:
            embeddings: of the classes, in their order.

        Raises:
            InputError: the weights of the tower gave no projection, and its features are of another length.
        """
        if not bool(self.weight.any()):
            raise InputError(
                f"the text embeddings have {self.out_features} numbers, the features of the network "
                f"{self.in_features}, and the weights of `init` have no projection between them; take the text "
                "embeddings of this network's own model"
            )
        self.text.copy_(embeddings.vectors)
        self.scale.fill_(embeddings.scale)
        self.logit_bias.fill_(embeddings.bias)


def add_cosine_head(network: nn.Module, size: int, classes: int) -> None:
    """Replace the last layer of a network that was built for E outputs by a head with C outputs.

    Args:
        network: changed in place.
        size: side of its crops in px.
        classes: C.

    Raises:
        InputError: the network does not end in a linear layer.
    """
    name = head_name(network, size)
    last = network.get_submodule(name)
    assert isinstance(last, nn.Linear)
    network.set_submodule(name, CosineHead(last.in_features, last.out_features, classes))
