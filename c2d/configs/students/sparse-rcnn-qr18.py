"""Sparse R-CNN on a ResNet18 with a quarter of the channels at 160 px, from scratch: a student for CPU tests.

Ours: width 64, two stages, 50 proposals, FPN levels of strides 4 to 32. Losses and matching are those of mmdet's
`sparse-rcnn`.
"""

_base_ = ["mmdet::sparse_rcnn/sparse-rcnn_r50_fpn_1x_coco.py"]
input_size = 160
num_stages = 2
stage = dict(
    assigner=dict(
        type="HungarianAssigner",
        match_costs=[
            dict(type="FocalLossCost", weight=2.0),
            dict(type="BBoxL1Cost", weight=5.0, box_format="xyxy"),
            dict(type="IoUCost", iou_mode="giou", weight=2.0),
        ],
    ),
    sampler=dict(type="PseudoSampler"),
    pos_weight=1,
)
box_head = dict(
    type="DIIHead",
    num_classes=80,
    num_ffn_fcs=2,
    num_heads=8,
    num_cls_fcs=1,
    num_reg_fcs=3,
    feedforward_channels=256,
    in_channels=64,
    dropout=0.0,
    ffn_act_cfg=dict(type="ReLU", inplace=True),
    dynamic_conv_cfg=dict(
        type="DynamicConv",
        in_channels=64,
        feat_channels=16,
        out_channels=64,
        input_feat_shape=7,
        act_cfg=dict(type="ReLU", inplace=True),
        norm_cfg=dict(type="LN"),
    ),
    loss_bbox=dict(type="L1Loss", loss_weight=5.0),
    loss_iou=dict(type="GIoULoss", loss_weight=2.0),
    loss_cls=dict(type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=2.0),
    bbox_coder=dict(
        type="DeltaXYWHBBoxCoder", clip_border=False, target_means=[0.0] * 4, target_stds=[0.5, 0.5, 1.0, 1.0]
    ),
)
model = dict(
    backbone=dict(depth=18, base_channels=16, frozen_stages=-1, norm_eval=False, init_cfg=None),
    neck=dict(in_channels=[16, 32, 64, 128], out_channels=64, norm_cfg=dict(type="BN", requires_grad=True)),
    rpn_head=dict(num_proposals=50, proposal_feature_channel=64),
    roi_head=dict(
        num_stages=num_stages,
        stage_loss_weights=[1] * num_stages,
        proposal_feature_channel=64,
        bbox_roi_extractor=dict(out_channels=64, finest_scale=28),
        bbox_head=[box_head] * num_stages,
    ),
    train_cfg=dict(rcnn=[stage] * num_stages),
    test_cfg=dict(rcnn=dict(max_per_img=50)),
)
