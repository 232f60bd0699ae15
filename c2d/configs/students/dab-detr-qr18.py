"""DAB-DETR on a ResNet18 with a quarter of the channels at 160 px, from scratch: a student for CPU tests.

Backbone, level, width and queries as in detr-qr18. Losses and matching are those of mmdet's `dab-detr`.
"""

_base_ = ["mmdet::dab_detr/dab-detr_r50_8xb2-50e_coco.py"]
input_size = 160
model = dict(
    num_queries=50,
    backbone=dict(
        depth=18,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2,),
        base_channels=16,
        frozen_stages=-1,
        norm_cfg=dict(type="BN", requires_grad=True),
        norm_eval=False,
        init_cfg=None,
    ),
    neck=dict(in_channels=[64], out_channels=64),
    encoder=dict(
        num_layers=2,
        layer_cfg=dict(self_attn_cfg=dict(embed_dims=64), ffn_cfg=dict(embed_dims=64, feedforward_channels=256)),
    ),
    decoder=dict(
        num_layers=2,
        layer_cfg=dict(
            self_attn_cfg=dict(embed_dims=64),
            cross_attn_cfg=dict(embed_dims=64),
            ffn_cfg=dict(embed_dims=64, feedforward_channels=256),
        ),
    ),
    positional_encoding=dict(num_feats=32),
    bbox_head=dict(embed_dims=64),
    test_cfg=dict(max_per_img=50),
)
train_pipeline = [
    dict(type="LoadImageFromFile", backend_args=None),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", scale=(1333, 800), keep_ratio=True),  # follows input_size
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
