"""Hooks on a running model: record what named modules return, and replace a method of one instance for a while.

    with record_outputs(model, ["layer1", "layer2"]) as outputs:
        model(images)
    outputs["layer1"]

Everything is undone at the end of the block, after an error too. Classes are never changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle

from c2d.core.errors import unknown_name


class _StopForward(BaseException):
    """Ends the forward pass once every output is recorded.

    A BaseException, so that no `except Exception` inside a model catches it.
    """


@contextmanager
def record_outputs(model: nn.Module, names: Sequence[str], stop: bool = False) -> Iterator[dict[str, Any]]:
    """Record what the modules `names` return while the block runs.

    Args:
        model: any module.
        names: as in `model.named_modules()`.
        stop: end the forward pass, and the block with it, as soon as every name has an output.

    Yields:
        Module name -> its last output, with the graph. An output that a later module overwrites in place stays
        overwritten.

    Raises:
        InputError: a name is no module of the model.
    """
    modules = dict(model.named_modules())
    for name in names:
        if name not in modules or name == "":
            raise unknown_name("module", name, [n for n in modules if n], f"modules of {type(model).__name__}")
    outputs: dict[str, Any] = {}

    def recorder(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            outputs[name] = output
            if stop and len(outputs) == len(set(names)):
                raise _StopForward

        return hook

    handles: list[RemovableHandle] = []
    try:
        handles.extend(modules[name].register_forward_hook(recorder(name)) for name in dict.fromkeys(names))
        yield outputs
    except _StopForward:
        return
    finally:
        for handle in handles:
            handle.remove()


def extract_outputs(model: nn.Module, names: Sequence[str], inputs: Any, stop: bool = True) -> dict[str, Any]:
    """Return the outputs of the modules `names` for `model(inputs)`.

    Args:
        model: any module.
        names: as in `model.named_modules()`.
        inputs: what the model is called with.
        stop: run the model only to the deepest of the modules.
    """
    if not names:
        return {}
    with record_outputs(model, names, stop=stop) as outputs:
        model(inputs)
    return {name: outputs[name] for name in names}


@contextmanager
def replace_method(instance: Any, name: str, replacement: Any) -> Iterator[None]:
    """Replace the bound method `name`, or another attribute, of one instance inside the block.

    The replacement is an entry of the instance's `__dict__`; afterwards the dict is what it was before.
    """
    attributes = vars(instance)
    missing = object()
    before = attributes.get(name, missing)
    attributes[name] = replacement
    try:
        yield
    finally:
        if before is missing:
            del attributes[name]
        else:
            attributes[name] = before
