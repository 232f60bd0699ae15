"""Decoder layers of DETR-like detectors, for methods that compare them: a student in its loss, a teacher alone."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from c2d.detectors import heads
from c2d.detectors.batch import Batch, samples_of_batch
from c2d.detectors.hooks import replace_method
from c2d.detectors.outputs import QueryOutputs
from c2d.detectors.recording.query_positives import QueryMatches, decode_boxes, record_matches


class QueryRecorder:
    """Decoder layers of a student in its last loss.

    Attributes:
        states: (L, B, N, M) outputs of the decoder layers; the Q matching queries are the last of the N.
        matches: predictions and ground truth of each layer.
    """

    def __init__(self, matches: QueryMatches, kind: heads.LogitKind) -> None:
        self.states: Tensor | None = None
        self.matches, self._kind = matches, kind

    def outputs(self) -> QueryOutputs:
        """Return predictions, features and matches in fp32, with the student's graph."""
        if self.states is None or not self.matches.layers:
            raise RuntimeError("nothing was recorded: call student.loss(...) inside the block")
        layers = self.matches.layers
        logits = torch.stack([torch.stack([match.logits for match in layer]) for layer in layers]).float()
        boxes = [torch.stack([decode_boxes(match.normalized, match.size) for match in layer]) for layer in layers]
        gt = torch.stack([torch.stack([match.gt for match in layer]) for layer in layers])
        # Denoising queries come before the matching ones.
        features = self.states[:, :, self.states.shape[2] - logits.shape[2] :].float()
        return QueryOutputs(logits, torch.stack(boxes), features, gt, self._kind)


def record_queries(stack: ExitStack, student: Any) -> QueryRecorder:
    """Replace methods of a student's head while `stack` is open, so that its decoder layers are kept.

    Args:
        stack: restores the methods when it closes.
        student: an mmdet detector.

    Raises:
        InputError: it has no decoder layers that can be read.
    """
    head = heads.query_head(student)
    recorder, forward = QueryRecorder(record_matches(stack, head), heads.loss_kind(head)), head.forward

    def kept(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        recorder.states = hidden_states
        return forward(hidden_states, *args, **kwargs)

    stack.enter_context(replace_method(head, "forward", kept))
    return recorder


@torch.no_grad()
def predict_queries(detector: Any, maps: tuple[Tensor, ...], batch: Batch) -> QueryOutputs:
    """Run encoder, decoder and head of a frozen detector on its maps; nothing is matched.

    Args:
        detector: in eval mode, so without denoising queries.
        maps: of its neck (B, M, h, w), in its own order.
        batch: whose images gave the maps.

    Raises:
        InputError: it has no decoder layers that can be read.
    """
    head = heads.query_head(detector)
    inputs = detector.forward_transformer(maps, samples_of_batch(batch))
    logits, normalized = head(**inputs)
    boxes = [decode_boxes(normalized[:, image], size) for image, size in enumerate(batch.sizes)]
    return QueryOutputs(
        logits.float(), torch.stack(boxes, dim=1), inputs["hidden_states"].float(), None, heads.loss_kind(head)
    )
