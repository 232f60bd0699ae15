"""Two checkpoints on the same images: what differs, by how much, and on which images.

In: two runs, or two files of detections and their ground truth. Out: one object with differences in AP, by class, size
and TIDE error, each with an interval over images, and the objects that only one of the two finds.
"""
