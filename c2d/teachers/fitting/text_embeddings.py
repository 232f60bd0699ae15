"""A file with one embedding a class name: safetensors, with what made it in the header.

Its tensor `embeddings` is (n, E) fp32, each row of length 1. Its metadata, all of them text: `format`; `names` and
`templates`, JSON lists; `model`; `scale` and `bias` of the logits; `random_seed`, empty unless the embeddings are
random numbers, which no model wrote.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from c2d.core.errors import InputError, unknown_name
from c2d.core.run_folder import RunFolder, atomic_write_bytes
from c2d.weights import safe_load
from c2d.weights.stored_weights import find_file

FORMAT = "c2d text embeddings 1"
RANDOM_SCALE = 100.0
"""Scale of random embeddings: that of CLIP after its training."""
LENGTH_TOLERANCE = 1e-3


@dataclass(frozen=True)
class TextEmbeddings:
    """Embeddings of class names.

    Attributes:
        vectors: (n, E) fp32, rows of length 1.
        names: of the n classes, in the order of the rows.
        model: the text tower.
        templates: prompts, `{}` is the name; the embedding is the mean over them.
        scale, bias: of the logits: scale * cosine + bias.
        random_seed: of random embeddings; None for those of a model.
    """

    vectors: Tensor
    names: tuple[str, ...]
    model: str
    templates: tuple[str, ...]
    scale: float
    bias: float = 0.0
    random_seed: int | None = None

    def of_classes(self, classes: Sequence[str]) -> TextEmbeddings:
        """Return the embeddings of `classes`, in that order.

        Raises:
            InputError: the file has no embedding of a class.
        """
        place = {name: row for row, name in enumerate(self.names)}
        for name in classes:
            if name not in place:
                raise unknown_name(
                    "class in the text embeddings", name, self.names,
                    "write them for this data set: c2d teacher text-embeddings",
                )  # fmt: skip
        rows = torch.tensor([place[name] for name in classes], dtype=torch.long)
        return TextEmbeddings(
            self.vectors[rows], tuple(classes), self.model, self.templates, self.scale, self.bias, self.random_seed
        )

    @property
    def origin(self) -> str:
        """What made them, for logs and results."""
        if self.random_seed is not None:
            return f"random text embeddings (seed {self.random_seed})"
        return f"text embeddings of {self.model}, {len(self.templates)} templates"


def random_embeddings(names: Sequence[str], length: int, seed: int) -> TextEmbeddings:
    """Draw an embedding of `length` numbers for each name: for trials of the mechanics."""
    draws = torch.randn(len(names), length, generator=torch.Generator().manual_seed(seed))
    return TextEmbeddings(F.normalize(draws, dim=1), tuple(names), "random numbers", (), RANDOM_SCALE, 0.0, seed)


def write_embeddings(path: Path, embeddings: TextEmbeddings) -> None:
    """Write the file whole or not at all."""
    from safetensors.torch import save

    seed = embeddings.random_seed
    metadata = {
        "format": FORMAT,
        "names": json.dumps(list(embeddings.names)),
        "model": embeddings.model,
        "templates": json.dumps(list(embeddings.templates)),
        "scale": repr(embeddings.scale),
        "bias": repr(embeddings.bias),
        "random_seed": "" if seed is None else str(seed),
    }
    atomic_write_bytes(path, save({"embeddings": embeddings.vectors.float().contiguous()}, metadata))


def read_embeddings(path: Path) -> TextEmbeddings:
    """Read and check a file.

    Raises:
        InputError: it is missing, or is no such file.
    """
    metadata = safe_load.safetensors_metadata(path)
    if metadata.get("format") != FORMAT:
        raise InputError(f"{path} has no text embeddings of c2d; write them with `c2d teacher text-embeddings`")
    try:
        names, templates = (_texts(metadata[key]) for key in ("names", "templates"))
        scale, bias = float(metadata["scale"]), float(metadata["bias"])
        seed = int(metadata["random_seed"]) if metadata["random_seed"] else None
        model = metadata["model"]
        vectors = safe_load.load(path)["embeddings"]
        if not (math.isfinite(scale) and math.isfinite(bias) and scale > 0):
            raise ValueError(f"scale {scale:g} and bias {bias:g}: wanted finite numbers, the scale above 0")
        if vectors.dtype != torch.float32 or vectors.dim() != 2 or len(vectors) != len(names) or not len(names):
            raise ValueError("not one row of fp32 numbers for each name")
        if len(set(names)) < len(names):
            raise ValueError("a name is there twice")
        if not bool(((vectors.norm(dim=1) - 1).abs() < LENGTH_TOLERANCE).all()):
            raise ValueError("a row has another length than 1")
    except (KeyError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged ({error}); write it again with `c2d teacher text-embeddings`") from None
    return TextEmbeddings(vectors, names, model, templates, scale, bias, seed)


def stored_embeddings(digest: str, run: RunFolder) -> TextEmbeddings:
    """Read the file that a spec's `text_embeddings` names.

    Args:
        digest: `sha256:HEX`.
        run: any run of the store that keeps the file.

    Raises:
        InputError: the store has no such file, it was changed, or it is no file of text embeddings.
    """
    try:
        return read_embeddings(find_file(digest, run))
    except InputError as error:
        raise InputError(f"text_embeddings of the spec: {error}") from None


def _texts(document: str) -> tuple[str, ...]:
    found = json.loads(document)
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise ValueError("names and templates are no lists of text")
    return tuple(found)
