"""Read outputs of a model's named modules inside a `with`; nothing stays behind.

    with tapped(model, ["layer1", "layer2"]) as seen:
        model(images)
    seen["layer1"]

`read` does the same in one call and stops the forward pass behind the last module asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle

from c2d.core.errors import unknown


class _Enough(BaseException):
    """Everything asked for has been seen. A BaseException, so that no `except Exception` in a model swallows it."""


@contextmanager
def tapped(model: nn.Module, names: Sequence[str], stop: bool = False) -> Iterator[dict[str, Any]]:
    """Collect what the modules `names` (as in `model.named_modules()`) return, as long as the block lasts.

    Yields a dict that fills up as the model runs, with the graph of the outputs; a module that runs several times
    leaves its last output; an output that a later module overwrites in place stays overwritten. With `stop`, the
    forward pass ends silently as soon as every name has been seen, and the block with it. All hooks are removed at the
    end, after an error too.

    Raises:
        InputError: a name is no module of the model.
    """
    modules = dict(model.named_modules())
    for name in names:
        if name not in modules or name == "":
            raise unknown("module", name, [n for n in modules if n], f"modules of {type(model).__name__}")
    seen: dict[str, Any] = {}

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            seen[name] = output
            if stop and len(seen) == len(set(names)):
                raise _Enough

        return hook

    handles: list[RemovableHandle] = []
    try:
        handles.extend(modules[name].register_forward_hook(keep(name)) for name in dict.fromkeys(names))
        yield seen
    except _Enough:
        return
    finally:
        for handle in handles:
            handle.remove()


def read(model: nn.Module, names: Sequence[str], inputs: Any, stop: bool = True) -> dict[str, Any]:
    """Outputs of the modules `names` for `model(inputs)`; by default the model runs only to the deepest of them."""
    if not names:
        return {}
    with tapped(model, names, stop=stop) as seen:
        model(inputs)
    return {name: seen[name] for name in names}
