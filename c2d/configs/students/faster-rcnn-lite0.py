"""Faster R-CNN on EfficientNet-Lite0 with a 64-channel FPN, at 160 px: about 4.1 M parameters, for a CPU.

Backbone, pixels and first weights as in retinanet-lite0; neck, heads and anchors are those of faster-rcnn-qr18.
"""

_base_ = "./faster-rcnn-qr18.py"
model = dict(
    data_preprocessor=dict(mean=[127.0, 127.0, 127.0], std=[128.0, 128.0, 128.0]),
    backbone=dict(
        _delete_=True,
        type="timm.create_model",
        model_name="tf_efficientnet_lite0",
        features_only=True,
        out_indices=(1, 2, 3, 4),
        pretrained=False,
    ),
    neck=dict(in_channels=[24, 40, 112, 320]),
)
