"""Data sets: made, converted, checked, and described by cards. Needs no torch (crops.py apart)."""
