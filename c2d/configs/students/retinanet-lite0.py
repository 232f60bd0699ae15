"""RetinaNet on EfficientNet-Lite0 with a 64-channel FPN, at 160 px: about 3.6 M parameters, for a CPU and few images.

The backbone is timm's tf_efficientnet_lite0 as stock mmdet builds it. `init: package:efficientnet-lite0` starts it from
ImageNet; pixels are (x - 127) / 128 as those weights need. Neck, head, levels and anchors are those of retinanet-qr18.
timm's networks have no frozen_stages and no norm_eval: everything is trained, batch norm's statistics too.
"""

_base_ = "./retinanet-qr18.py"
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
