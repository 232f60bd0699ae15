"""Tiny archives in the layouts of COCO, VOC and KITTI, and a table of facts for a server on this machine."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Callable

import numpy as np
from PIL import Image

from c2d.data.fetch.public_archives import Archive, PublicArchives
from tests.c2d.data.voc_folder import annotation, item
from tests.c2d.file_server import FileServer


def jpeg(seed: int, kind: str = "JPEG") -> bytes:
    """A 64 x 48 picture of its own for each seed."""
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(stream, kind)
    return stream.getvalue()


def packed(name: str, files: dict[str, bytes]) -> bytes:
    """A zip or tar of files."""
    stream = io.BytesIO()
    if name.endswith(".zip"):
        with zipfile.ZipFile(stream, "w") as archive:
            for member, content in files.items():
                archive.writestr(member, content)
    else:
        with tarfile.open(fileobj=stream, mode="w") as archive:
            for member, content in files.items():
                info = tarfile.TarInfo(member)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def coco_archives(same_picture: bool = False) -> dict[str, bytes]:
    def split(number: int) -> bytes:
        box = {"id": 1, "image_id": number, "category_id": 1, "bbox": [5, 5, 20, 20], "area": 400, "iscrowd": 0}
        image = {"id": number, "file_name": f"{number:012d}.jpg", "width": 64, "height": 48}
        content = {"images": [image], "annotations": [box], "categories": [{"id": 1, "name": "ant"}]}
        return json.dumps(content).encode()

    return {
        "annotations.zip": packed(
            "annotations.zip",
            {
                "annotations/instances_train2017.json": split(1),
                "annotations/instances_val2017.json": split(2),
                "annotations/captions_val2017.json": b"{}",
            },
        ),
        "val2017.zip": packed("val2017.zip", {"val2017/000000000002.jpg": jpeg(2)}),
        "train2017.zip": packed("train2017.zip", {"train2017/000000000001.jpg": jpeg(2 if same_picture else 1)}),
    }


def voc_archives(same_picture: bool = False) -> dict[str, bytes]:
    def year(name: str, split: str, stem: str, seed: int) -> dict[str, bytes]:
        folder = f"VOCdevkit/{name}"
        return {
            f"{folder}/Annotations/{stem}.xml": annotation(item()).encode(),
            f"{folder}/ImageSets/Main/{split}.txt": f"{stem}\n".encode(),
            f"{folder}/JPEGImages/{stem}.jpg": jpeg(seed),
            f"{folder}/SegmentationClass/{stem}.png": b"not unpacked",
        }

    return {
        "trainval2007.tar": packed("a.tar", year("VOC2007", "trainval", "000001", 1)),
        "test2007.tar": packed("a.tar", year("VOC2007", "test", "000002", 1 if same_picture else 2)),
        "trainval2012.tar": packed("a.tar", year("VOC2012", "trainval", "2008_000001", 3)),
    }


def kitti_archives() -> dict[str, bytes]:
    row = b"Car 0.00 0 1.5 5.00 6.00 25.00 30.00 1.5 1.6 3.9 1.0 1.5 20.0 1.6\n"
    names = [f"{number:06d}" for number in range(4)]
    images = {f"training/image_2/{name}.png": jpeg(int(name), "PNG") for name in names}
    return {
        "label_2.zip": packed("a.zip", {f"training/label_2/{name}.txt": row for name in names}),
        "image_2.zip": packed("a.zip", images | {"testing/image_2/000000.png": b"not unpacked"}),
    }


MEMBERS = {
    "annotations.zip": ("annotations/instances_train2017.json", "annotations/instances_val2017.json"),
    "val2017.zip": ("val2017/",),
    "train2017.zip": ("train2017/",),
    "trainval2007.tar": tuple(f"VOCdevkit/VOC2007/{part}/" for part in ("Annotations", "ImageSets/Main", "JPEGImages")),
    "test2007.tar": tuple(f"VOCdevkit/VOC2007/{part}/" for part in ("Annotations", "ImageSets/Main", "JPEGImages")),
    "trainval2012.tar": tuple(f"VOCdevkit/VOC2012/{part}/" for part in ("Annotations", "ImageSets/Main", "JPEGImages")),
    "label_2.zip": ("training/label_2/",),
    "image_2.zip": ("training/image_2/",),
}
MAKERS: dict[str, Callable[..., dict[str, bytes]]] = {
    "coco": coco_archives,
    "voc": voc_archives,
    "kitti": kitti_archives,
}


def serve(server: FileServer, layout: str, **options: bool) -> dict[str, PublicArchives]:
    """Put the archives of a layout on a server; return the table with the data set `tiny`."""
    contents = MAKERS[layout](**options)
    server.files |= {f"/{name}": content for name, content in contents.items()}
    archives = tuple(
        Archive(
            f"{server.address}/{name}",
            len(content),
            hashlib.sha256(content).hexdigest(),
            MEMBERS[name],
            len(content),
        )
        for name, content in contents.items()
    )
    return {"tiny": PublicArchives(layout, "https://example.org/site", "none", archives)}
