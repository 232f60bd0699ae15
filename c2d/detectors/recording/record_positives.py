"""Positives of the student's head: logits, decoded boxes, and the ground truth that each is assigned to.

    with record_positives(student) as recorder:
        losses = student.loss(inputs, data_samples)
    found = recorder.positives(batch)

Inside the block methods of the head are replaced on the instance; they are restored at its end, after an error too.
The student's losses stay equal to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from c2d.detectors import heads
from c2d.detectors.heads import DenseFamily, QueryFamily
from c2d.detectors.recording.dense_positives import record_dense_positives
from c2d.detectors.recording.positives import PositivesRecorder, RoIStages
from c2d.detectors.recording.query_positives import record_query_positives
from c2d.detectors.recording.roi_positives import record_roi_positives
from c2d.detectors.recording.sparse_positives import record_sparse_positives


@contextmanager
def record_positives(student: Any, roi_stages: RoIStages = "last") -> Iterator[PositivesRecorder]:
    """Record the positives of an mmdet detector while its `loss` runs.

    Args:
        student: the detector itself, outside any wrapper.
        roi_stages: of a cascade or of a decoder, the last stage or layer, or all of them.

    Raises:
        InputError: the head belongs to no supported family.
    """
    head, family = heads.final_head(student)
    recorder = PositivesRecorder()
    with ExitStack() as stack:
        if isinstance(family, DenseFamily):
            record_dense_positives(stack, recorder, head, family)
        elif isinstance(family, QueryFamily):
            record_query_positives(stack, recorder, head, roi_stages)
        elif family.matched:
            record_sparse_positives(stack, recorder, head, roi_stages)
        else:
            record_roi_positives(stack, recorder, head, family.cascaded, roi_stages)
        yield recorder
