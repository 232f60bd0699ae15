"""Procedural scenes: beetles of look-alike species on natural ground.

In: number of images, size, seed. Out: images and COCO files with a data card.
"""
