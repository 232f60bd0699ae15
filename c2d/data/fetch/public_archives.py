"""The archives of public data sets: official address, size and sha256. This is the only table of them.

Sizes and sha256 are those of TensorFlow Datasets' lists of checksums (url_checksums: coco2017, voc, kitti), compared
with a second place: torchvision's prototype data sets for COCO and VOC, a public script that downloads from this
address for KITTI. An archive without a known sha256 has "" there; that of the first download is recorded and printed.

KITTI's site asks for a registration and then sends the addresses that are listed here; torchvision and TensorFlow
Datasets download from them. Register and read the terms before you use the data.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Archive:
    """One published archive.

    Attributes:
        url: its address at the publisher; the last part is its name.
        size: bytes.
        sha256: hex; "" where none is known.
        members: what is unpacked: names of files, and beginnings of names that end with a slash.
        unpacked_size: of these members in bytes, about, for the check of free space.
    """

    url: str
    size: int
    sha256: str
    members: tuple[str, ...]
    unpacked_size: int

    @property
    def name(self) -> str:
        """Name of its file."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class PublicArchives:
    """The archives of one data set.

    Attributes:
        layout: of the unpacked files: `coco`, `voc` or `kitti`; decides how the card is made.
        site: page with the terms, and with the addresses for people.
        terms: in a few words.
        archives: in the order in which they are downloaded, small ones first.
    """

    layout: str
    site: str
    terms: str
    archives: tuple[Archive, ...]


_COCO = "http://images.cocodataset.org"  # its https has a certificate of another name; the sha256 decides
_VOC = "http://host.robots.ox.ac.uk/pascal/VOC"
_KITTI = "https://s3.eu-central-1.amazonaws.com/avg-kitti"


def _voc_members(year: int) -> tuple[str, ...]:
    folder = f"VOCdevkit/VOC{year}"
    return f"{folder}/Annotations/", f"{folder}/ImageSets/Main/", f"{folder}/JPEGImages/"


PUBLIC_ARCHIVES = {
    "coco2017": PublicArchives(
        "coco",
        "https://cocodataset.org/#download",
        "annotations CC BY 4.0; images under the terms of Flickr",
        (
            Archive(
                f"{_COCO}/annotations/annotations_trainval2017.zip",
                252_907_541,
                "113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
                ("annotations/instances_train2017.json", "annotations/instances_val2017.json"),
                490_000_000,
            ),
            Archive(
                f"{_COCO}/zips/val2017.zip",
                815_585_330,
                "4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
                ("val2017/",),
                815_000_000,
            ),
            Archive(
                f"{_COCO}/zips/train2017.zip",
                19_336_861_798,
                "69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
                ("train2017/",),
                19_310_000_000,
            ),
        ),
    ),
    "voc0712": PublicArchives(
        "voc",
        "http://host.robots.ox.ac.uk/pascal/VOC/",
        "images under the terms of Flickr",
        (
            Archive(
                f"{_VOC}/voc2007/VOCtrainval_06-Nov-2007.tar",
                460_032_000,
                "7d8cd951101b0957ddfd7a530bdc8a94f06121cfc1e511bb5937e973020c7508",
                _voc_members(2007),
                450_000_000,
            ),
            Archive(
                f"{_VOC}/voc2007/VOCtest_06-Nov-2007.tar",
                451_020_800,
                "6836888e2e01dca84577a849d339fa4f73e1e4f135d312430c4856b5609b4892",
                _voc_members(2007),
                440_000_000,
            ),
            Archive(
                f"{_VOC}/voc2012/VOCtrainval_11-May-2012.tar",
                1_999_639_040,
                "e14f763270cf193d0b5f74b169f44157a4b0c6efa708f4dd0ff78ee691763bcb",
                _voc_members(2012),
                1_950_000_000,
            ),
        ),
    ),
    "kitti": PublicArchives(
        "kitti",
        "https://www.cvlibs.net/datasets/kitti/eval_object.php?obj_benchmark=2d",
        "CC BY-NC-SA 3.0; the site asks for a registration",
        (
            Archive(
                f"{_KITTI}/data_object_label_2.zip",
                5_601_213,
                "4efc76220d867e1c31bb980bbf8cbc02599f02a9cb4350effa98dbb04aaed880",
                ("training/label_2/",),
                20_000_000,
            ),
            Archive(
                f"{_KITTI}/data_object_image_2.zip",
                12_569_945_557,
                "351c5a2aa0cd9238b50174a3a62b846bc5855da256b82a196431d60ff8d43617",
                ("training/image_2/",),
                6_300_000_000,
            ),
        ),
    ),
}
