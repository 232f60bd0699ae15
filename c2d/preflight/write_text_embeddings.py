"""`c2d teacher text-embeddings`: embeddings of class names, by a text tower or, for trials of the mechanics, random."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from c2d.configs.class_names import class_list
from c2d.core.disk import check_output
from c2d.core.errors import InputError, first_line
from c2d.core.regular_file import FormatError, is_file, read_bytes
from c2d.data.card_lookup import find_card_file, load_card
from c2d.teachers.fitting.head_layer import head_name
from c2d.teachers.fitting.text_embeddings import TextEmbeddings, random_embeddings, write_embeddings
from c2d.teachers.fitting.text_tower import TEMPLATES, embed_names
from c2d.teachers.networks import build_network

SIDE = 224
"""px; the size of crops at which the length of a network's features is read: nearly every network processes it."""


def write_text_embeddings(
    names: str,
    model: str,
    out: Path,
    *,
    templates: Path | None = None,
    data: Path | None = None,
    random: int | None = None,
    download: bool = False,
) -> str:
    """Write the embeddings of class names to a file.

    Args:
        names: a data card (name or path), a text file with one name a line, or names separated by commas.
        model: see `embed_names`; with `random` a network (`timm:NAME`), whose features give the length.
        out: the file.
        templates: text file with one prompt a line, `{}` is the name; default: TEMPLATES.
        data: root of the data cards (default: C2D_DATA, else ./data).
        random: seed of random embeddings.
        download: allow open_clip to fetch weights.

    Returns:
        A line about what was written.

    Raises:
        InputError: no names, a prompt without `{}`, an unknown model, an `out` that is no file, or open_clip is not
            installed.
    """
    check_output(out)
    classes = class_names(names, data)
    if random is not None and templates is not None:
        raise InputError("--templates are prompts for a text tower, and --random asks for none; leave one out")
    if random is None:
        embeddings: TextEmbeddings = embed_names(classes, model, _prompts(templates), download=download)
    else:
        embeddings = random_embeddings(classes, feature_length(model), random)
    write_embeddings(out, embeddings)
    count, length = embeddings.vectors.shape
    return f"{out}: {count} classes, {length} numbers each: {embeddings.origin}"


def class_names(names: str, data: Path | None = None) -> tuple[str, ...]:
    """Return the class names of a data card, a text file, or a list with commas; see `write_text_embeddings`.

    Raises:
        InputError: there are none, or one is given twice.
    """
    if find_card_file(names, data) is not None:
        return tuple(load_card(names, data).card.classes)
    if is_file(Path(names)):
        return class_list(names, "NAMES")
    if "," not in names:
        raise InputError(
            f"NAMES {names!r} is no data card and no file here; give a card, a text file with one name a line, or A,B,C"
        )
    return class_list([part.strip() for part in names.split(",")], "the list of names")


def feature_length(network: str) -> int:
    """Return the number of features before the last layer of a network.

    Raises:
        InputError: the network is unknown, or does not end in a linear layer.
    """
    with torch.random.fork_rng():
        built = build_network(network, 2, SIDE)
    last = built.get_submodule(head_name(built, SIDE))
    assert isinstance(last, nn.Linear)
    return last.in_features


def _prompts(templates: Path | None) -> tuple[str, ...]:
    if templates is None:
        return TEMPLATES
    try:
        lines = read_bytes(templates).decode("utf-8-sig").splitlines()
    except (OSError, FormatError, UnicodeDecodeError) as error:
        raise InputError(
            f"--templates {templates}: {first_line(error)}; give a text file with one prompt a line, {{}} is the name"
        ) from None
    prompts = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not prompts:
        raise InputError(f"--templates {templates} has no prompt; give one a line, {{}} is the name")
    for prompt in prompts:
        if "{}" not in prompt:
            raise InputError(f"--templates {templates}: the prompt {prompt!r} has no {{}} for the name; write it there")
    return prompts
