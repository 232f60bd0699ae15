"""Messages of errors: one line for each mistake, whatever the names in it."""

from c2d.core.errors import InputError


def test_a_line_break_of_a_name_does_not_begin_a_line():
    assert (
        str(InputError("no file a\nerror: all fine\r\n; give a path")) == r"no file a\nerror: all fine\r\n; give a path"
    )


def test_each_mistake_has_a_line():
    assert str(InputError("a.yaml:1: x\ny", "a.yaml:2: z")) == "a.yaml:1: x\\ny\na.yaml:2: z"


def test_a_word_that_no_path_has_is_shown_by_its_beginning():
    assert str(InputError(f"unknown {'x' * 5000} known: a")) == f"unknown {'x' * 200}... known: a"
