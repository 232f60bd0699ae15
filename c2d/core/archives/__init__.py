"""Archives of finished runs: ARCHIVE.json with the sha256 of every file, and a whole archive as one compressed file.

In: an exported folder, or the file of one. Out: the file, or the folder, verified. Nothing in an archive is trusted.
"""
