"""RetinaNet on ResNet101 with FPN 256: mmdet's stock model and recipe at 1333x800, the usual teacher of R50."""

_base_ = "./retinanet-r50.py"
model = dict(backbone=dict(depth=101))
