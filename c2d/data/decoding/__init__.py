"""Pixels of image files, as training reads them.

In: an image file. Out: its pixels, and what training does to them: format, depth, orientation, damage.
Imports OpenCV, the decoder of mmcv; needs no torch.
"""
