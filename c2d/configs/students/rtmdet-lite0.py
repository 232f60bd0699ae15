"""RTMDet on EfficientNet-Lite0 with a 64-channel neck, at 160 px: for a CPU and few images.

Backbone, pixels and first weights (`init: package:efficientnet-lite0`) as in retinanet-lite0; neck, head and
augmentation are those of rtmdet-q. Pixels are RGB, RTMDet's own configs have BGR.
"""

_base_ = "./rtmdet-q.py"
model = dict(
    data_preprocessor=dict(mean=[127.0, 127.0, 127.0], std=[128.0, 128.0, 128.0], bgr_to_rgb=True),
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
