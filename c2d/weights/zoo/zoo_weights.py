"""Fill a whole detector from one file: `zoo:FILE_STEM`, or `detector:sha256:HEX` of a file that the store keeps.

Every key has to fit. Pixels have to be normalised as in the training: mmdet writes the config of a training into the
`meta` of its checkpoints, where mean, std and channel order are read as text; nothing is executed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder
from c2d.detectors.normalization import Normalization
from c2d.weights import safe_load, stored_weights, torchvision_weights
from c2d.weights.audit import Audit
from c2d.weights.pretrained import check_same_pixels
from c2d.weights.weight_file import file_sha256
from c2d.weights.zoo.detector_keys import detector_keys
from c2d.weights.zoo.zoo_table import PREFIX, zoo_file

LOCAL = "detector:"
NUMBERS = r"\[\s*([-\d.eE+]+)\s*,\s*([-\d.eE+]+)\s*,\s*([-\d.eE+]+)\s*,?\s*\]"
SWAP = re.compile(r"\b(?:to_rgb|bgr_to_rgb)['\"]?\s*[=:]\s*(True|False)")


class DetectorFile(NamedTuple):
    """A checkpoint of a whole detector that was read.

    Attributes:
        init: as the spec names it.
        source: its path, or its name in the store.
        content: what `safe_load.load` returned.
        sha256: of the file, hex.
        pixels: how the images of its training were normalised; None where the file does not say.
    """

    init: str
    source: str
    content: Any
    sha256: str
    pixels: Normalization | None


def find_file(init: str, folder: RunFolder | None = None, *, download: bool | None = None) -> Path:
    """Return the file that `init` names, whose sha256 begins as its name says, or is its name.

    Args:
        init: as in `read_detector`.
        folder: as in `read_detector`.
        download: as in `read_detector`.

    Raises:
        InputError: there is no such file, or it is another one than its name says.
    """
    if init.startswith(PREFIX):
        return torchvision_weights.cached_file(init, zoo_file(init).url, download=download)
    return stored_weights.find_file(init.removeprefix(LOCAL), folder)


def read_detector(init: str, folder: RunFolder | None = None, *, download: bool | None = None) -> DetectorFile:
    """Read the file that `init` names.

    Args:
        init: `zoo:FILE_STEM` or `detector:sha256:HEX`.
        folder: any run of the store; needed for `detector:` alone.
        download: fetch a model-zoo file that is not in torch's cache; None to do so if C2D_DOWNLOAD is 1.

    Raises:
        InputError: there is no such file, it is another one than its name says, or it cannot be read safely.
    """
    path = find_file(init, folder, download=download)
    content = safe_load.load(path)
    return DetectorFile(init, str(path), content, file_sha256(path), stated_pixels(content))


def fill_detector(detector: nn.Module, file: DetectorFile) -> Audit:
    """Copy every weight of a file into a detector (in place).

    Args:
        detector: an mmdet detector with its data preprocessor.
        file: of the same architecture.

    Raises:
        InputError: a key is missing, unexpected or of another shape, a weight is not finite, or the images of the
            training were normalised in another way.
    """
    if file.pixels is not None:
        given = Normalization.from_preprocessor(detector.data_preprocessor)
        check_same_pixels(file.init, file.pixels, given)
    audit = safe_load.load_into(
        detector,
        file.content,
        who="teacher",
        strict=True,
        rename=detector_keys(detector.state_dict()),
        source_name=file.source,
    )
    return replace(audit, sha256=file.sha256)


def stated_pixels(content: Any) -> Normalization | None:
    """Return the normalization in the config text of a checkpoint's `meta`; None where there is none, or several.

    Args:
        content: of the file.
    """
    meta = content.get("meta") if isinstance(content, Mapping) else None
    texts = [meta.get(key) for key in ("cfg", "config")] if isinstance(meta, Mapping) else []
    text = next((text for text in texts if isinstance(text, str)), "")
    found = [set(re.findall(rf"\b{key}['\"]?\s*[=:]\s*{NUMBERS}", text)) for key in ("mean", "std")]
    swaps = set(SWAP.findall(text))
    if [len(values) for values in (*found, swaps)] != [1, 1, 1]:
        return None
    try:
        mean, std = (tuple(float(value) for value in values.pop()) for values in found)
    except ValueError:
        return None
    if 0 in std:
        raise InputError(f"the config in the checkpoint divides pixels by std {list(std)}; the file is damaged")
    return Normalization((mean[0], mean[1], mean[2]), (std[0], std[1], std[2]), "rgb" if swaps == {"True"} else "bgr")
