"""SSD512 on VGG16, the paper's second student: mmdet's stock model and augmentation.

Weights: as ssd300-vgg16, with what is unverified about them.
"""

_base_ = "mmdet::ssd/ssd512_coco.py"
input_size = 512
