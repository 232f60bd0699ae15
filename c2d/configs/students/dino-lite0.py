"""DINO on EfficientNet-Lite0 at 160 px, as dino-qr18 else: a DETR-like student for a CPU and few images.

Backbone, weights and pixels as in retinanet-lite0.
"""

_base_ = "./dino-qr18.py"
model = dict(
    data_preprocessor=dict(mean=[127.0, 127.0, 127.0], std=[128.0, 128.0, 128.0]),
    backbone=dict(
        _delete_=True,
        type="timm.create_model",
        model_name="tf_efficientnet_lite0",
        features_only=True,
        out_indices=(2, 3, 4),
        pretrained=False,
    ),
    neck=dict(in_channels=[40, 112, 320]),
)
