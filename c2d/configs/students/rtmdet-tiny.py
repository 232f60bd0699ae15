"""RTMDet-tiny at mmdet's stock settings; the two cached steps run uncached, see docs/spec.md.

Its recipe has SyncBN (backbone, neck and head): with several GPUs the statistics are of all of them, in one process it
is batch norm. No other shipped student has it.
"""

_base_ = "mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py"
input_size = 640
closing_pipeline = {{_base_.train_pipeline_stage2}}  # mmengine replaces it before Python reads the file
closing_share = 20 / 300  # the stock config's last 20 of 300 epochs
