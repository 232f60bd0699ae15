"""SSD300 on VGG16, the paper's first student: mmdet's stock model and augmentation.

Weights: torchvision:vgg16.IMAGENET1K_FEATURES (pixels 0-255, mean subtracted only), as the stock normalisation has it.
"""

_base_ = "mmdet::ssd/ssd300_coco.py"
input_size = 300
