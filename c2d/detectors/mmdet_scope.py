"""The context in which mmengine builds mmdet's models, data sets and transforms from configs.

mmengine was written for configs that their user wrote: it imports the modules that they name, evaluates some of their
texts and unpickles their files. Here a config may come from a spec, a run folder or a JSON file of a stranger. So the
first use of the context restricts mmengine, mmcv and mmdet for the whole process (`_close_host`), and inside it
mmengine's loaders refuse weight files: the weights of what is built come from `c2d.weights.safe_load` alone.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from mmengine.registry import DefaultScope

from c2d.core.errors import InputError
from c2d.detectors import compat, timm_backbone

HOST = ("mmengine", "mmcv", "mmdet", "torch", "torchvision")
# module that calls `eval` on a text of a config: what the text may be.
EVALUATED = {
    "mmcv.ops.nms": r"[a-z0-9_]*nms[a-z0-9_]*",
    "mmdet.models.task_modules.tracking.camera_motion_compensation": r"cv2\.MOTION_[A-Z]+",
    "mmcv.cnn.rfsearch.search": r"(nn\.Conv[123]d|[A-Z][A-Za-z0-9]*)",
}

_closed = False


@contextlib.contextmanager
def mmdet_scope() -> Iterator[None]:
    """Register mmdet's classes, and make its registry the one in which mmengine looks up the type names of configs.

    Import mmdet's modules inside the context, or after `compat.prepare()`: before it, their import may fail.

    Raises:
        InputError: inside it, a config names a weight file, a pickle or a text to evaluate.
    """
    compat.prepare()  # it also imports all of mmdet, which fills the registries
    _close_host()
    with DefaultScope.overwrite_default_scope("mmdet"), _no_weight_files():
        yield


def _close_host() -> None:
    """Restrict the host in this process, once.

    torch reads weights alone, also where a caller asks for more; types are registered names; a scope is imported only
    if it is part of the host or was imported before; texts are looked up instead of evaluated; pickles are not read
    by mmengine's file functions, and YAML is read without tags that call.
    """
    global _closed
    if _closed:
        return
    _closed = True
    # torch obeys it over the argument of a caller, and worker processes inherit it. The two exclude each other.
    os.environ.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    registry: Any = importlib.import_module("mmengine.registry.registry")
    registry.get_object_from_string = _registered_object
    registry.import_module = _import_of_host
    _register_own_transforms()
    for name, pattern in EVALUATED.items():
        with contextlib.suppress(ImportError):
            module = importlib.import_module(name)
            vars(module)["eval"] = _lookup(module, pattern)  # found before the builtin
    _restrict_files()


def _register_own_transforms() -> None:
    # imported here: a module of mmcv before `compat.prepare`
    transforms: Any = importlib.import_module("mmdet.registry").TRANSFORMS
    for transform in importlib.import_module("c2d.detectors.whole_image_crops").TRANSFORMS:
        transforms.register_module(module=transform)


@contextlib.contextmanager
def _no_weight_files() -> Iterator[None]:
    """Refuse every weight file that mmengine's loaders are asked for."""
    loader: Any = importlib.import_module("mmengine.runner.checkpoint").CheckpointLoader
    before = loader.__dict__["load_checkpoint"]
    loader.load_checkpoint = staticmethod(_refuse_weights)
    try:
        yield
    finally:
        loader.load_checkpoint = before


def _refuse_weights(filename: Any, *_args: Any, **_kwargs: Any) -> Any:
    raise InputError(
        f"the config would load the weight file {filename} while its model is built; weights come from `init` of the "
        "spec, or from --checkpoint: remove it from the config"
    )


def _registered_object(name: str) -> Any:
    """Return the registered object that an import path names, or None; nothing is imported.

    mmengine writes such paths when it dumps a config with classes in it, for example
    `mmdet.models.detectors.retinanet.RetinaNet`. The registered object of the same name must be of the same package.
    One function that is no registered object has a counterpart here: timm's, which builds backbones.
    """
    import mmengine.registry

    if name == timm_backbone.TYPE:
        return timm_backbone.create_model

    package, _, last = name.rpartition(".")
    for root in vars(mmengine.registry).values():
        if not package or not isinstance(root, mmengine.registry.Registry):
            continue
        for registry in (root, *root.children.values()):
            found = registry.module_dict.get(last)
            home = str(getattr(found, "__module__", ""))
            if found is not None and (home == package or home.startswith(f"{package}.") or _same_root(home, package)):
                return found
    return None


def _same_root(home: str, package: str) -> bool:
    """True for a class of the host that is named by another of its packages, such as `mmdet.models.RetinaNet`."""
    return home.split(".")[0] == package.split(".")[0] and home.split(".")[0] in HOST


def _import_of_host(name: str, package: str | None = None) -> ModuleType:
    """Import for mmengine's registry, which asks for `SCOPE.registry` of any scope that a config names."""
    if name.split(".")[0] not in HOST and name not in sys.modules:
        raise ImportError(f"scope {name.split('.')[0]!r} is no part of mmengine, mmcv or mmdet and was not imported")
    return importlib.import_module(name, package)


def _lookup(module: ModuleType, pattern: str) -> Callable[..., Any]:
    """Return a replacement of `eval` that returns an attribute of `module` whose name matches `pattern`."""

    def lookup(text: Any, *_namespaces: Any) -> Any:
        value: Any = module
        for part in str(text).split(".") if re.fullmatch(pattern, str(text)) else ("",):
            value = getattr(value, part, None)
        if not callable(value) and not isinstance(value, int):
            raise InputError(f"the config names {str(text)[:60]!r}, which {module.__name__} does not have")
        return value

    return lookup


def _restrict_files() -> None:
    """Let mmengine's file functions, and mmdet's data sets, read data alone."""
    import numpy as np

    pickles: Any = importlib.import_module("mmengine.fileio.handlers.pickle_handler")
    texts: Any = importlib.import_module("mmengine.fileio.handlers.yaml_handler")
    pickles.PickleHandler.load_from_fileobj = _refuse_pickle
    texts.Loader = getattr(texts.yaml, "CSafeLoader", texts.yaml.SafeLoader)
    with contextlib.suppress(ImportError, AttributeError):
        images: Any = importlib.import_module("mmdet.datasets.openimages")

        def relation_matrix(self: Any, hierarchy_file: str) -> Any:
            """Read the class hierarchy as its original does, without pickled objects."""
            with images.get_local_path(hierarchy_file, backend_args=self.backend_args) as path:
                return np.load(path, allow_pickle=False)[1:, 1:]

        images.OpenImagesChallengeDataset._get_relation_matrix = relation_matrix


def _refuse_pickle(*_args: Any, **_options: Any) -> Any:
    raise InputError("the config names a pickle, which can hold code; give the data as JSON")
