"""DETR on a ResNet18 with a quarter of the channels at 160 px, from scratch: a student for CPU tests.

Ours: width 64, two layers in encoder and decoder, one level of stride 16, 50 queries, no dropout, no random sizes.
Losses and matching are those of mmdet's `detr`. DETR needs hundreds of epochs; this one shows that it trains.
"""

_base_ = ["mmdet::detr/detr_r50_8xb2-150e_coco.py"]
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
        layer_cfg=dict(
            self_attn_cfg=dict(embed_dims=64, dropout=0.0),
            ffn_cfg=dict(embed_dims=64, feedforward_channels=256, ffn_drop=0.0),
        ),
    ),
    decoder=dict(
        num_layers=2,
        layer_cfg=dict(
            self_attn_cfg=dict(embed_dims=64, dropout=0.0),
            cross_attn_cfg=dict(embed_dims=64, dropout=0.0),
            ffn_cfg=dict(embed_dims=64, feedforward_channels=256, ffn_drop=0.0),
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
