"""RetinaNet on ResNet152 with FPN 256 at 1333x800: DeFeat's teacher of R50.

mmdet has no config of it, so there is no model-zoo file; train it. Weights: torchvision:resnet152.IMAGENET1K_V1.
"""

_base_ = "./retinanet-r50.py"
model = dict(backbone=dict(depth=152))
