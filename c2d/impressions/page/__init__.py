"""What a person looks at after a synthesis: the sheet of its first images, and the page of diagnostics.

In: annotations, image files, found targets, the content of result.json, curves. Out: sheet.png and diagnostics.html.
Needs no torch.
"""
