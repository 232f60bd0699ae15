"""Interfaces to mmdet: batches, feature maps, head outputs, positives, anchors and layouts as plain tensors.

In: mmdet models, configs and data samples. Out: dataclasses of tensors with stated shapes and frames.
"""
