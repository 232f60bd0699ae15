"""What is asked of an artefact before it is timed: is it equal to eager, which AP has it, what does it compute.

All of it is asked once, in a process of its own, so that the processes that measure do nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c2d.core.errors import first_line

if TYPE_CHECKING:
    from benchmarks.backends import Prepared
    from benchmarks.latency.student import Subject

EAGER = "eager"


def examine(
    subject: Subject, name: str, call: Prepared, paths: Sequence[Path], known_ap: float | None = None
) -> dict[str, Any]:
    """{max_deviation, tolerance, equal, AP, note} of the artefact, {counts} of its network, {sha256} of the artefact.

    Args:
        paths: images that are looked at. known_ap: AP in 0-1 of these weights, eager, at the config's own input size.

    Returns:
        AP is of exactly this artefact, None where nobody evaluated it. counts: {flops, macs, params, trainable} of one
        image, {uncounted: {operator: calls}}; empty where they could not be counted, and then the note says why.
    """
    found: dict[str, Any] = {"max_deviation": None, "tolerance": None, "equal": None, "AP": None, "note": ""}
    if name == EAGER and known_ap is not None and not subject.resized:
        found |= {"equal": True, "AP": known_ap}
    else:
        from benchmarks.latency import parity

        found |= parity.examine(subject, name, call, list(paths))
    counts, note = _counts(subject, paths)
    notes = [text for text in (found["note"], note) if text]
    return {**found, "note": "; ".join(notes), "counts": counts, "sha256": call.sha256}


def _counts(subject: Subject, paths: Sequence[Path]) -> tuple[dict[str, Any], str]:
    """({flops, macs, params, trainable, uncounted, counted_at}, why there are none): model and post-processing.

    A dense network does the same work on any image, so it is counted on a blank one of the nominal size, and the count
    does not depend on the images at hand; other networks are counted on the first image.
    """
    import numpy as np

    from benchmarks.flops import flops

    try:
        dense = subject.network.nms == "out"
        images = [np.zeros((*subject.size, 3), np.uint8)] if dense else subject.read(paths[:1])
        batch = subject.to_device(subject.preprocess(images))
        found = flops.count(
            lambda _: subject.post(subject.run(subject.model, batch), batch), batch.inputs, module=subject.detector
        )
    except Exception as error:  # a network that cannot be counted can be timed all the same
        return {}, f"operations could not be counted ({type(error).__name__}: {first_line(error)})"
    return {**found, "counted_at": "x".join(map(str, batch.inputs.shape[-2:]))}, ""
