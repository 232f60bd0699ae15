"""SSD512 on VGG16, the paper's second student: mmdet's stock model and augmentation.

The paper says "basic mmdet recipe" and no more: the recipe of ssd300-vgg16 is taken, unverified.
Weights: as ssd300-vgg16, with what is unverified about them.
"""

_base_ = "mmdet::ssd/ssd512_coco.py"
input_size = 512
