"""Pure tensor functions.

In: boxes, feature maps, losses per box. Out: tensors of stated shape and frame, differentiable where a loss needs it.
No state, no models.
"""
