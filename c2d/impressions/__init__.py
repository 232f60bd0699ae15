"""Images made from a detector alone: their targets, their pixels, controls, and the data card of the result.

In: a finished detector, an `ImpressionsSchedule`. Out: a run folder that is a data card as well: card.json,
annotations/train.json with soft labels, train/*.png; beside them sheet.png and diagnostics.html.
"""
