"""Records of one forward pass of a detector: maps, head outputs, positives, and its layout.

In: an mmdet detector and a batch. Out: plain tensors. A detector is never edited: methods are replaced on the instance,
inside a `with`.
"""
