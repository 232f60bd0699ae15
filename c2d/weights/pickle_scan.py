"""Walk through the pickles of a torch file before torch reads them. Nothing is built, called or imported.

torch's reader calls a fixed list of functions alone, but it believes the file in everything else: the length of a text,
how deep tuples are nested (hashing them overflows the stack of the process) and which tensors have data. Here every
length is compared with what is left of the file, and the walk keeps of each value only what the checks need. A pickle
has to be whole before anything in it is read.
"""

from __future__ import annotations

import io
import math
import mmap
import pickletools
from collections.abc import Iterator
from typing import Any, NamedTuple

MAGIC = 0x1950A86A20F9469CFC6C
"""torch's first pickle in a file that is no zip archive; four more follow, then the data of the tensors."""
FOREIGN = "is a pickle that torch.save did not write"
MAX_OPCODES = 300_000
MAX_DEPTH = 100
MAX_SIZE = 1_000_000
"""Values in a tuple, those of tuples inside it counted as often as they occur: hashing visits each of them."""
MAX_ALLOCATED = 10_000_000
"""Elements of all arrays that the pickle makes by their size alone; the data of tensors are no part of it."""
ALLOCATING = ("bytearray", "ndarray", "_reconstruct", "Tensor", "Storage")
"""Ends of names of functions that take a size."""
MAX_LARGE_INTS = 1000
LARGE_INT = 2**61 - 1
"""Python's hash of an int is its remainder by this number, so that large keys can be made to collide."""
SCALARS = ("NONE", "NEWFALSE", "NEWTRUE", "BINFLOAT", "BININT", "BININT1", "BININT2", "LONG1")
TEXTS = ("BINUNICODE", "SHORT_BINSTRING", "GLOBAL")
CONSTANTS = frozenset((*SCALARS, *TEXTS, "EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET"))
TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
# opcode: values that it takes from the stack and puts into the container below them
FILLS = {"APPEND": 1, "SETITEM": 2, "BUILD": 1}


class Unreadable(ValueError):
    """The file cannot be read safely. The message is a clause that follows its name.

    Attributes:
        damaged: bytes are missing or wrong; False for a file that torch.save does not write.
        fix: what to do.
    """

    def __init__(self, message: str, *, damaged: bool, fix: str = "copy or download it again") -> None:
        super().__init__(message)
        self.damaged = damaged
        self.fix = fix


class Value(NamedTuple):
    """What is kept of a value on the stack.

    Attributes:
        content: an int or text; the values of a tuple, or of a list as a list; None for others.
        depth: nesting of tuples and calls.
        size: values in it, see MAX_SIZE.
    """

    content: Any = None
    depth: int = 0
    size: int = 1


class Scan:
    """The walk through one or several pickles of a file.

    Attributes:
        storages: keys of the tensors' data.
    """

    def __init__(self) -> None:
        self.storages: set[str] = set()
        self._opcodes = 0
        self._large_ints = 0
        self._allocated = 0

    def pickle(self, source: mmap.mmap | io.BytesIO) -> Any:
        """Walk to the end of one pickle.

        Args:
            source: at the pickle's first byte; afterwards behind its last one. Its `read(n)` returns what is left if
                that is less, and takes no memory for more.

        Returns:
            Its value: an int or text, a list of Value, or None for others.

        Raises:
            Unreadable: see the class.
        """
        stack: list[Value] = []
        marks: list[list[Value]] = []
        memo: dict[int, Value] = {}
        try:
            for name, argument in self._operations(source):
                if name in CONSTANTS:
                    stack.append(self._constant(name, argument))
                elif name in ("BINPUT", "LONG_BINPUT"):
                    memo[argument] = stack[-1]
                elif name in ("BINGET", "LONG_BINGET"):
                    stack.append(memo[argument])
                elif name == "MARK":
                    marks.append(stack)
                    stack = []
                elif name == "TUPLE":
                    items, stack = stack, marks.pop()
                    stack.append(_nested(tuple(items), items))
                elif name in TUPLES:
                    items = [stack.pop() for _ in range(TUPLES[name])][::-1]
                    stack.append(_nested(tuple(items), items))
                elif name in ("REDUCE", "NEWOBJ"):
                    arguments, function = stack.pop(), stack.pop()
                    self._check_call(str(function.content), arguments)
                    stack.append(_nested(None, [function, arguments]))
                elif name in FILLS:
                    items = [stack.pop() for _ in range(FILLS[name])][::-1]
                    _fill(stack[-1], items)
                elif name in ("APPENDS", "SETITEMS"):
                    items, stack = stack, marks.pop()
                    _fill(stack[-1], items)
                elif name == "BINPERSID":
                    stack.append(self._storage(stack.pop()))
                elif name == "STOP":
                    return stack.pop().content
                elif name != "PROTO":
                    raise Unreadable(FOREIGN, damaged=False)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, Unreadable):
                raise
            raise Unreadable("is damaged (its pickle takes a value that is not there)", damaged=True) from None
        raise Unreadable("ends too early", damaged=True)

    def _operations(self, source: mmap.mmap | io.BytesIO) -> Iterator[tuple[str, Any]]:
        """(name, argument) of each opcode; a length beyond the end of the file ends it."""
        try:
            for opcode, argument, _ in pickletools.genops(source):  # type: ignore[arg-type]
                self._opcodes += 1
                if self._opcodes > MAX_OPCODES:
                    raise Unreadable(
                        f"has more than {MAX_OPCODES:,} pickled values beside its tensors; weights have few",
                        damaged=False,
                    )
                yield opcode.name, argument
        except Unreadable:
            raise
        except ValueError as error:
            text = str(error)
            end = "exhausted" in text or "remain" in text or "newline" in text or "not enough data" in text
            raise Unreadable("ends too early" if end else f"is damaged ({text[:80]})", damaged=True) from None

    def _constant(self, name: str, argument: Any) -> Value:
        if isinstance(argument, int) and not isinstance(argument, bool) and abs(argument) >= LARGE_INT:
            self._large_ints += 1
            if self._large_ints > MAX_LARGE_INTS:
                raise Unreadable(f"has more than {MAX_LARGE_INTS} integers of 61 bits and more", damaged=False)
        return Value([] if name == "EMPTY_LIST" else argument)

    def _check_call(self, function: str, arguments: Value) -> None:
        if function.endswith(ALLOCATING):
            self._allocated += math.prod(max(1, number) for number in _integers(arguments))
            if self._allocated > MAX_ALLOCATED:
                raise Unreadable(f"asks for arrays of more than {MAX_ALLOCATED:,} elements without data", damaged=False)
        if function.startswith("torch._utils _rebuild_tensor"):
            storage, offset, size, stride = (item.content for item in arguments.content[:4])
            steps = zip(size, stride, strict=True)
            last = offset + sum((count.content - 1) * step.content for count, step in steps)
            # torch enlarges the data of the older format, with whatever the memory holds.
            if isinstance(storage, int) and all(count.content for count in size) and last >= storage:
                raise Unreadable(f"is damaged (a tensor of {last + 1} elements has data for {storage})", damaged=True)

    def _storage(self, reference: Value) -> Value:
        """The data of a tensor, ('storage', type, key, device, number of elements), as that number."""
        items = reference.content
        if not isinstance(items, tuple) or len(items) < 5 or not isinstance(items[2].content, str):
            return Value()
        self.storages.add(items[2].content)
        return Value(items[4].content)


def _nested(content: Any, items: list[Value]) -> Value:
    depth = 1 + max((item.depth for item in items), default=0)
    size = 1 + sum(item.size for item in items)
    if depth > MAX_DEPTH or size > MAX_SIZE:
        raise Unreadable(f"has tuples nested deeper than {MAX_DEPTH} or of {MAX_SIZE:,} values", damaged=False)
    return Value(content, depth, size)


def _fill(container: Value, items: list[Value]) -> None:
    if isinstance(container.content, list):
        container.content.extend(items)


def _integers(value: Value) -> Iterator[int]:
    """The integers in a tuple and in those inside it, whose number `_nested` limits."""
    if isinstance(value.content, int) and not isinstance(value.content, bool):
        yield value.content
    elif isinstance(value.content, tuple):
        for item in value.content:
            yield from _integers(item)
