r"""Labels that people write, with LaTeX math in them.

In: the text of a label, `$\lambda_{kc}$ weight`. Out: its pieces, and the label in Unicode;
or the mistake and its fix.
Sweep definitions and report specs have labels, formats of tables and figures write them.
The content security policy of HTML pages is here, too, and what keeps a spreadsheet from running a text.
"""
