"""SSD300 on VGG16, the paper's first student: mmdet's stock model and augmentation.

Weights: torchvision:vgg16.IMAGENET1K_FEATURES (pixels 0-255, mean subtracted only), as the stock normalisation has it.
mmdet's own file is open-mmlab://vgg16_caffe (vgg16_caffe-292e1171.pth). Unverified: that it has the same values, and
whether it also has fc6 and fc7, which torchvision's lacks and which start at random. With both files at hand: c2d
weights compare torchvision:vgg16.IMAGENET1K_FEATURES vgg16_caffe-292e1171.pth (docs/teachers.md).
mmdet 2.10, which the paper used, distorted colours first; mmdet 3 does it last (the effect is unverified).
"""

_base_ = "mmdet::ssd/ssd300_coco.py"
input_size = 300
