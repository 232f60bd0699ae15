"""Everything that knows mmdet.

In: mmdet models, configs and data samples. Out: plain tensors: batches, feature maps, head outputs, positives,
anchors.
No other room reads mmdet's types.
"""
