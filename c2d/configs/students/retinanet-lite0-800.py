"""RetinaNet on EfficientNet-Lite0 with FPN 256 at 1333x800, for a GPU: neck and head of retinanet-r50.

Backbone, pixels and first weights (`init: package:efficientnet-lite0`) as in retinanet-lite0. timm's networks have no
frozen_stages and no norm_eval: unlike in retinanet-r50 all of the backbone is trained, batch norm's statistics too.
"""

_base_ = "./retinanet-r50.py"
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
