"""Tables as data.

In: the frame and a table specification. Out: a `Table`: cells, differences, footnotes, the protocol check.
Formats turn it into text.
"""
