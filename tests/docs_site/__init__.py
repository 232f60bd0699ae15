"""The documentation site: pages in, site/ out (`make docs`).

`site_hooks` is read by mkdocs, `command_pages` writes the reference of the commands, `console_blocks` reads the blocks
of commands in a page, `page_outputs` runs them and writes what they print, `notebook_page` shows notebooks.
"""
