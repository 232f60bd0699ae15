"""Embeddings of class names by the text tower of a model of open_clip, an optional package.

Written to open_clip's documented interface (create_model_and_transforms, get_tokenizer, encode_text, logit_scale,
logit_bias). Tests use a stand-in module, because the package is not part of the tested environment. By hand it was
compared once with open_clip 3.3.0 and a ViT-B-32 of random weights: logits of the whole classifier, with the image
tower of timm, differ by less than 1e-6 from open_clip's own. Trained weights were not at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from c2d.core.errors import InputError, first_line
from c2d.teachers.fitting.text_embeddings import TextEmbeddings

PREFIX = "open_clip:"
TEMPLATES = ("a photo of a {}.",)
PART = 256
"""Prompts in one pass of the tower."""


def embed_names(names: Sequence[str], model: str, templates: Sequence[str], *, download: bool) -> TextEmbeddings:
    """Compute the embedding of each name: the mean over the prompts of embeddings of length 1, again of length 1.

    Args:
        names: of classes.
        model: `open_clip:MODEL/WEIGHTS`; WEIGHTS is one of open_clip's names, or a file.
        templates: prompts, `{}` is the name.
        download: allow open_clip to fetch weights that are not in its cache.

    Raises:
        InputError: another form of `model`, open_clip is not installed, or it has no such weights.
    """
    name, _, weights = model.removeprefix(PREFIX).partition("/")
    if not model.startswith(PREFIX) or not name or not weights:
        raise InputError(f"model '{model}' is not of the form {PREFIX}MODEL/WEIGHTS, e.g. {PREFIX}ViT-B-16/openai")
    if not download and not Path(weights).is_file():
        raise InputError(f"weights '{weights}' are no file, and open_clip may fetch them; allow it with --download")
    try:
        import open_clip
    except ImportError:
        raise InputError(
            f"'{model}' needs open_clip, which is not installed: pip install 'c2d-suite[text]'; for a trial of the "
            "mechanics without it: --random SEED"
        ) from None
    try:
        network, _, _ = open_clip.create_model_and_transforms(name, pretrained=weights)
        tokenizer = open_clip.get_tokenizer(name)
    except Exception as error:  # open_clip and its downloader raise many types
        raise InputError(f"open_clip cannot load '{name}' with weights '{weights}': {first_line(error)}") from None
    network.eval()
    prompts = [template.replace("{}", name) for name in names for template in templates]
    with torch.no_grad():
        rows = torch.cat([_encode(network, tokenizer, prompts[i : i + PART]) for i in range(0, len(prompts), PART)])
    vectors = F.normalize(rows.reshape(len(names), len(templates), -1).mean(1), dim=1)
    bias = getattr(network, "logit_bias", None)
    return TextEmbeddings(
        vectors, tuple(names), model, tuple(templates), float(network.logit_scale.detach().exp()),
        0.0 if bias is None else float(bias.detach()),
    )  # fmt: skip


def _encode(network: Any, tokenizer: Any, prompts: list[str]) -> Tensor:
    return F.normalize(network.encode_text(tokenizer(prompts)).float(), dim=1)
