"""Weight files made to harm: each ends in one line of an error, within seconds and without taking memory.

The files are read by children of one process, so that a crash is an outcome and memory is measured for each file.
"""

from __future__ import annotations

import functools
import io
import json
import os
import pickle
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from c2d.weights import safe_load
from tests.c2d.weights.forked_load import Outcome, load_in_child

MOST_SECONDS, MOST_MIB = 5, 500
HEAD = b"\x80\x02"


def long(number: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", number)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def tensor(numel: int, offset: int, size: list[int], stride: list[int], key: str = "0") -> bytes:
    """A float tensor as torch.save pickles it, with any numbers."""

    def shape(numbers: list[int]) -> bytes:
        return b"(" + b"".join(map(long, numbers)) + b"t"

    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + long(numel) + b"tQ"
    arguments = storage + long(offset) + shape(size) + shape(stride) + b"\x89ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


def call(name: str, *arguments: bytes) -> bytes:
    return b"c" + name.replace(" ", "\n").encode() + b"\n(" + b"".join(arguments) + b"tR"


def state(value: bytes) -> bytes:
    return HEAD + b"}" + text("weight") + value + b"s."


def zipped(path: Path, pickled: bytes, data: bytes = struct.pack("<4f", 1, 2, 3, 4), packed: int = 0) -> None:
    with zipfile.ZipFile(path, "w", packed) as archive:
        for name, content in {"a/data.pkl": pickled, "a/version": b"3\n", "a/data/0": data}.items():
            archive.writestr(name, content)


def plain(path: Path, pickled: bytes, keys: tuple[str, ...] = ("0",), elements: int = 4) -> None:
    """The format of torch before 1.6: five pickles, then number of elements and data of each tensor."""
    content = io.BytesIO()
    for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
        pickle.dump(value, content, 2)
    content.write(pickled.replace(b"tQ", b"NtQ"))
    pickle.dump(list(keys), content, 2)
    path.write_bytes(content.getvalue() + struct.pack("<q4f", elements, 1, 2, 3, 4))


# Lengths that the file does not have, in every opcode that has a length.
LENGTHS = {
    "long4": b"\x8b" + struct.pack("<i", 2**31 - 1), "long4-negative": b"\x8b" + struct.pack("<i", -1),
    "binbytes": b"B" + struct.pack("<I", 2**32 - 1), "binbytes8": b"\x8e" + struct.pack("<Q", 2**62),
    "binbytes8-30g": b"\x8e" + struct.pack("<Q", 30 * 2**30), "binunicode": b"X" + struct.pack("<I", 2**32 - 1),
    "binunicode8": b"\x8d" + struct.pack("<Q", 2**40), "bytearray8": b"\x96" + struct.pack("<Q", 2**50),
    "binstring": b"T" + struct.pack("<i", 2**31 - 1), "binstring-negative": b"T" + struct.pack("<i", -5),
    "frame": b"\x95" + struct.pack("<Q", 2**60) + b"}", "long1": b"\x8a\xff\0", "unicode": b"V" + b"a" * 10**6,
    "long-text": b"L" + b"9" * 10**6 + b"L\n",
}  # fmt: skip
PICKLES = {
    **{name: body + b"." for name, body in LENGTHS.items()},
    "memo-put": b"}r" + struct.pack("<I", 2**32 - 1) + b"a.",
    "memo-get": b"j" + struct.pack("<I", 2**31) + b".",
    "memo-many": b"}" + b"".join(b"r" + struct.pack("<I", place) for place in range(310_000)) + b".",
    "lists-deep": b"]" * 310_000 + b"a" * 309_999 + b".",
    "tuples-deep": b")" + b"\x85" * 200_000 + b".",
    "tuples-deep-key": b"})" + b"\x85" * 200_000 + b"K\x01s.",
    "tuples-deep-set": b"cbuiltins\nset\n])" + b"\x85" * 200_000 + b"a\x85R.",
    "tuples-shared-key": b"})q\0" + b"".join(b"h\0h\0\x86q\0" for _ in range(60)) + b"K\x01s.",
    "keys-that-collide": b"}(" + b"".join(long(n * (2**61 - 1))[:10] + b"N" for n in range(1, 4)) * 20_000 + b"u.",
    "marks": b"(" * 310_000 + b".",
    "stack-empty": b"a.",
    "no-end": b"}",
    "utf8": b"X\x02\0\0\0\xff\xfe.",
    "protocol-99": b"\x80\x63.",
    "extension": b"\x82\x01.",
    "inst": b"(S'x'\nios\nsystem\n.",
    "reduce": b"cos\nsystem\nX\x04\0\0\0true\x85R.",
    "new-object": b"cos\nsystem\n)}\x92.",
    "stack-global": b"\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
}
TENSORS = {
    "numel-1e15": tensor(10**15, 0, [4], [1]),
    "numel-1e15-used": tensor(10**15, 0, [10**15], [1]),
    "numel-negative": tensor(-4, 0, [4], [1]),
    "size-beyond": tensor(4, 0, [8], [1]),
    "offset-beyond": tensor(4, 2, [3], [1]),
    "stride-beyond": tensor(4, 0, [3], [2]),
    "offset-1e15": tensor(4, 10**15, [4], [1]),
    "offset-negative": tensor(4, -2, [4], [1]),
    "stride-negative": tensor(4, 3, [4], [-1]),
    "size-negative": tensor(4, 0, [-4], [1]),
    "size-overflow": tensor(4, 0, [2**62, 2**62], [0, 0]),
    "stride-overflow": tensor(4, 0, [2, 2], [2**62, 2**62]),
    "no-data": tensor(4, 0, [4], [1], key="7"),
    "path-as-key": tensor(4, 0, [4], [1], key="../../../etc/passwd"),
    "bytearray-50g": call("builtins bytearray", long(50 * 10**9)),
    "bytearrays": b"](" + call("builtins bytearray", long(10**6)) * 2000 + b"e",
    "ndarray": call("numpy ndarray", long(2 * 10**9)),
    "ndarray-rebuilt": call(
        "numpy.core.multiarray _reconstruct", b"cnumpy\nndarray\n", b"(" + long(10**5) * 2 + b"t", text("f")
    ),
    "storage": call("torch.storage UntypedStorage", long(10**10)),
    "tensor": call("torch Tensor", long(10**10)),
    "float-tensor": call("torch FloatTensor", long(10**10)),
}


def safetensors(path: Path, header: object, data: bytes = bytes(16), length: int | None = None) -> None:
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(head) if length is None else length) + head + data)


def entry(begin: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


HEADERS: dict[str, tuple[object, bytes, int | None]] = {
    "length-2e62": ({"a": entry(0, 16, [4])}, bytes(16), 2**62),
    "length-1e8": ({"a": entry(0, 16, [4])}, bytes(16), 10**8 - 1),
    "overlap": ({"a": entry(0, 16, [4]), "b": entry(8, 24, [4])}, bytes(24), None),
    "beyond": ({"a": entry(0, 10**15, [10**15 // 4])}, bytes(16), None),
    "shape": ({"a": entry(0, 16, [2**62, 2**62])}, bytes(16), None),
    "negative": ({"a": entry(0, 16, [-4])}, bytes(16), None),
    "deep": (b'{"a":' * 100_000, b"", None),
    "many": ({f"a{n}": entry(0, 0, [0]) for n in range(100_000)}, b"", None),
    "metadata": ({"__metadata__": {"x": "a" * 5 * 10**6}}, b"", None),
    "dtype": ({"a": entry(0, 16, [4], "X9")}, bytes(16), None),
    "trailing": ({"a": entry(0, 16, [4])}, bytes(100), None),
    "empty": (b"", b"", None),
    "zeros": (bytes(100), b"", None),
}


def bomb(path: Path, member: str) -> None:
    """An archive of a few MB with a member of 700 MB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("a/data.pkl", state(tensor(4, 0, [4], [1])))
        with archive.open(member, "w", force_zip64=True) as file:
            for _ in range(175):
                file.write(bytes(4 * 2**20))


def overlapping(path: Path) -> None:
    """An archive whose list names the same bytes 40 times."""
    zipped(path, state(tensor(4, 0, [4], [1])), bytes(10**6))
    content = path.read_bytes()
    begin, end = content.find(b"PK\x01\x02"), content.rfind(b"PK\x05\x06")
    last = content.rfind(b"PK\x01\x02")
    more = b"".join(content[last:end].replace(b"a/data/0", f"a/dat/{n:02}".encode()) for n in range(10, 50))
    listing = content[begin:end] + more
    ending = content[end : end + 8] + struct.pack("<HHIIH", 43, 43, len(listing), begin, 0)
    path.write_bytes(content[:begin] + listing + ending)


def many_members(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for place in range(66_000):
            archive.writestr(f"a/{place}", "")


def encrypted(path: Path) -> None:
    zipped(path, state(tensor(4, 0, [4], [1])))
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.find(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)


def repeated(path: Path) -> None:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("a/data.pkl", state(tensor(4, 0, [4], [1])))
        archive.writestr("a/data.pkl", HEAD + PICKLES["reduce"])


def torchscript(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))


def tar(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            info = tarfile.TarInfo(name)
            info.size = 5
            archive.addfile(info, io.BytesIO(b"\x80\x02}q."))


def cut(path: Path, keep: float) -> None:
    zipped(path, state(tensor(4, 0, [4], [1])))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])


WRITERS: dict[str, Callable[..., object]] = {"zip": zipped, "plain": plain, "bare": Path.write_bytes}


def written(write: Callable[..., object], pickled: bytes, path: Path) -> None:
    write(path, pickled)


FILES: dict[str, Callable[[Path], object]] = {
    "bomb-pickle": lambda path: bomb(path, "b/data.pkl"),
    "bomb-data": lambda path: bomb(path, "a/data/0"),
    "bomb-other": lambda path: bomb(path, "a/readme"),
    "overlapping": overlapping,
    "many-members": many_members,
    "encrypted": encrypted,
    "repeated": repeated,
    "compressed": lambda path: zipped(path, state(tensor(4, 0, [4], [1])), packed=zipfile.ZIP_LZMA),
    "torchscript": torchscript,
    "tar": tar,
    "no-pickle": lambda path: zipfile.ZipFile(path, "w").writestr("a.npy", b"x"),
    "data-short": lambda path: zipped(path, state(tensor(8, 0, [8], [1]))),
    "plain-no-keys": lambda path: plain(path, state(tensor(4, 0, [4], [1])), keys=()),
    "plain-other-keys": lambda path: plain(path, state(tensor(4, 0, [4], [1])), keys=("0", "1")),
    "plain-elements": lambda path: plain(path, state(tensor(4, 0, [4], [1])), elements=10**15),
    "plain-elements-negative": lambda path: plain(path, state(tensor(4, 0, [4], [1])), elements=-1),
    "html": lambda path: path.write_bytes(b"<!DOCTYPE html><html>404</html>"),
    "zeros": lambda path: path.write_bytes(bytes(10**6)),
    "text": lambda path: path.write_bytes(b"hello\n" * 50),
    "line-break-in-a-name": lambda path: path.write_bytes(HEAD + b"\x8c\x03o\ns\x8c\x06system\x93)R."),
    **{f"cut-{keep}": functools.partial(cut, keep=keep) for keep in (0.001, 0.02, 0.3, 0.9, 0.999)},
    **{f"{kind}-{name}": functools.partial(written, write, HEAD + body)
       for name, body in PICKLES.items()
       for kind, write in WRITERS.items()
       if kind == "zip" or len(body) < 200_000},
    **{f"{kind}-{name}": functools.partial(written, write, state(value))
       for name, value in TENSORS.items() for kind, write in WRITERS.items() if kind != "bare"},
}  # fmt: skip


def judged(outcome: Outcome) -> None:
    assert outcome.error in ("Refused", "Corrupt", "InputError"), outcome
    assert len(outcome.message.splitlines()) == 1
    assert "weights_only" not in outcome.message
    assert len(outcome.message) < 600
    assert outcome.seconds < MOST_SECONDS
    assert outcome.peak_mib < MOST_MIB


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_torch_file_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    FILES[name](path)
    judged(load_in_child(path))


@pytest.mark.parametrize("name", HEADERS)
def test_a_hostile_safetensors_file_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    safetensors(path, *HEADERS[name])
    judged(load_in_child(path))


@pytest.mark.parametrize("write", [zipped, plain])
def test_the_files_above_are_harmless_without_their_fault(write: Callable[..., None], tmp_path: Path) -> None:
    """Control: what the files are made of is read; a tensor may begin behind the first element, and have steps."""
    write(tmp_path / "a.pth", state(tensor(4, 1, [2], [2])))
    assert safe_load.load(tmp_path / "a.pth")["weight"].tolist() == [2, 4]
    safetensors(tmp_path / "a.safetensors", {"a": entry(0, 16, [4])})
    assert safe_load.load(tmp_path / "a.safetensors")["a"].tolist() == [0, 0, 0, 0]


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.pth")
    with pytest.raises(safe_load.InputError, match="is not a regular file; give a weight file"):
        safe_load.load(tmp_path / "a.pth")


@pytest.mark.parametrize("kind", ["meta", "sparse"])
def test_tensors_that_are_no_weights_are_refused(kind: str) -> None:
    value = torch.zeros(2, 2, device="meta") if kind == "meta" else torch.zeros(2, 2).to_sparse()
    layer = torch.nn.Linear(2, 2, bias=False)
    with pytest.raises(safe_load.InputError, match="weight is sparse, quantized or without data"):
        safe_load.load_into(layer, {"weight": value}, who="student", strict=True)
