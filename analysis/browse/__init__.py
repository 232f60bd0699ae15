"""One page to look at the errors of one or two detectors, image by image.

In: run folders, or ground truth with files of detections, and the images. Out: one HTML file that loads nothing.
Verdicts of boxes are those of `c2d.metrics.box_verdicts`; what the page does in a browser is in its scripts.
"""
