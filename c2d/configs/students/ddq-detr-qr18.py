"""DDQ DETR on a ResNet18 with a quarter of the channels at 160 px, from scratch: a student for CPU tests and demos.

Ours: width 64, two layers in encoder and decoder, three levels (strides 8 to 32), 50 queries, about 20 denoising
queries, and no random sizes. Losses, matching and noise are those of mmdet's `ddq-detr-4scale`.
"""

_base_ = ["mmdet::ddq/ddq-detr-4scale_r50_8xb2-12e_coco.py"]
input_size = 160
model = dict(
    num_queries=50,
    num_feature_levels=3,
    backbone=dict(
        depth=18,
        base_channels=16,
        frozen_stages=-1,
        norm_cfg=dict(type="BN", requires_grad=True),
        norm_eval=False,
        init_cfg=None,
    ),
    neck=dict(in_channels=[32, 64, 128], out_channels=64, norm_cfg=dict(type="GN", num_groups=16), num_outs=3),
    encoder=dict(
        num_layers=2,
        layer_cfg=dict(
            self_attn_cfg=dict(embed_dims=64, num_levels=3), ffn_cfg=dict(embed_dims=64, feedforward_channels=256)
        ),
    ),
    decoder=dict(
        num_layers=2,
        layer_cfg=dict(
            self_attn_cfg=dict(embed_dims=64),
            cross_attn_cfg=dict(embed_dims=64, num_levels=3),
            ffn_cfg=dict(embed_dims=64, feedforward_channels=256),
        ),
    ),
    positional_encoding=dict(num_feats=32),
    bbox_head=dict(embed_dims=64),
    dn_cfg=dict(group_cfg=dict(num_dn_queries=20)),
    test_cfg=dict(max_per_img=50),
)
train_pipeline = [
    dict(type="LoadImageFromFile", backend_args=None),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", scale=(1333, 800), keep_ratio=True),  # follows input_size
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
