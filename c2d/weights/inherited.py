"""Start a student's neck and heads from those of its detector teacher (the inheriting strategy of several KD configs).

A layer is inherited whole or not at all: where one of its tensors has another shape or is missing, the others of the
same layer keep their own first weights, because a bias fits its own kernel alone. The backbone is never touched.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from torch import Tensor, nn

from c2d.core.errors import InputError
from c2d.weights.audit import Audit, check_finite, first_keys, shape_differences

OTHER_PARTS = ("backbone.", "data_preprocessor.")


def inherit_neck_and_heads(student: nn.Module, teacher: nn.Module, source: str) -> Audit:
    """Copy the weights of the teacher's neck and heads into the student (in place) where all of a layer fits.

    Args:
        student: an mmdet detector.
        teacher: an mmdet detector.
        source: the teacher, for messages.

    Returns:
        Account of every key of neck and heads: `missing` in the teacher, `unexpected` in the student, `mismatched`, and
        `dropped`: equal tensors of a layer that does not fit.

    Raises:
        InputError: no layer fits, or a weight is NaN or infinite.
    """
    own, given = _neck_and_heads(student), _neck_and_heads(teacher)
    mismatched = tuple(
        (key, tuple(given[key].shape), tuple(value.shape))
        for key, value in own.items()
        if key in given and given[key].shape != value.shape
    )
    layers: dict[str, list[str]] = defaultdict(list)
    for key in own:
        layers[key.rpartition(".")[0]].append(key)
    unfit = {key for key, _, _ in mismatched}
    whole = [keys for keys in layers.values() if all(key in given and key not in unfit for key in keys)]
    kept = {key: given[key] for keys in whole for key in keys}
    missing = tuple(key for key in own if key not in given)
    if not kept:
        differences = [f"another shape: {shape_differences(mismatched, 2)}"] if mismatched else []
        differences += [f"not in the teacher: {first_keys(missing, 2)}"] if missing else []
        raise InputError(
            f"init: teacher: no layer of the student's neck and heads fits {source} ({'; '.join(differences)}); take a "
            "teacher with the same kind of neck and head and as many channels, or another `init`"
        )
    check_finite(kept, f"teacher weights {source}")
    student.load_state_dict(kept, strict=False)
    return Audit(
        loaded=len(kept),
        missing=missing,
        unexpected=tuple(key for key in given if key not in own),
        mismatched=mismatched,
        who="neck and heads from",
        source=source,
        wanted=len(own),
        dropped=tuple(key for key in own if key in given and key not in unfit and key not in kept),
    )


def _neck_and_heads(detector: nn.Module) -> Mapping[str, Tensor]:
    return {key: value for key, value in detector.state_dict().items() if not key.startswith(OTHER_PARTS)}
