import gzip
import io
import os
import shutil
import struct
import subprocess
import sys
import tracemalloc
import unicodedata
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from support.tiny_runs import ROOT

from nfnet.data.arrays import read_idx
from nfnet.data.folder import decode
from nfnet.data.records import write_array_record
from nfnet.data.source import UnreadableExampleError, check_classes, check_readable, part
from nfnet.data.sources import SOURCES, open_source
from nfnet.errors import UserError
from nfnet.training.config import DataConfig
from nfnet.training.splits import open_held_out, open_splits

RNG = np.random.default_rng(0)


def image_bytes(value: int, kind: str = "PNG", size: tuple[int, int] = (6, 5)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (value, value, value)).save(buffer, kind)
    return buffer.getvalue()


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def idx(array: np.ndarray) -> bytes:
    return b"\x00\x00\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def test_digits_are_split_without_overlap():
    train, test = open_source("digits", "", "train"), open_source("digits", "", "test")
    assert len(train) + len(test) == 1797
    assert len(test) == 360
    images = {split[i]["image"].tobytes() for split in (train, test) for i in range(len(split))}
    assert len(images) > 1790  # a few digits are drawn alike; an overlap of the splits would be hundreds
    example = train[0]
    assert example["image"].shape == (8, 8, 3)
    assert example["image"].dtype == np.uint8
    assert {train[i]["label"] for i in range(len(train))} == set(range(10))


@pytest.mark.parametrize("zipped", [False, True])
def test_fashion_mnist_reads_idx_files(tmp_path, zipped):
    images = RNG.integers(0, 256, (5, 28, 28), np.uint8)
    labels = np.array([3, 1, 4, 1, 5], np.uint8)
    for name, array in (("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels)):
        content = idx(array)
        write(tmp_path / (name + ".gz" if zipped else name), gzip.compress(content) if zipped else content)
    source = open_source("fashion_mnist", str(tmp_path), "train")
    assert len(source) == 5
    assert source[2]["label"] == 4
    np.testing.assert_array_equal(source[2]["image"], np.repeat(images[2, ..., None], 3, -1))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x00\x00\x0d\x01" + bytes(8), "no idx file"),
        (b"\x00\x00\x08\x03" + bytes(4), "truncated in its header"),
        (idx(np.zeros((3, 4), np.uint8))[:-1], "has 23 bytes where its header asks for 24"),
        (idx(np.zeros((3, 4), np.uint8)) + b"x", "more bytes than fit where its header asks for 24"),
        (b"\x00\x00\x08\x03" + b"\xff" * 12, "header that asks for 79228162458924105385300197391 bytes"),
        (b"\x00\x00\x08\xff" + b"\xff" * 2000, "no idx file"),
        (b"\x00\x00\x08\x00" + b"\x01", "no idx file"),
    ],
)
def test_damaged_idx_files_are_refused(tmp_path, content, message):
    write(tmp_path / "file", content)
    with pytest.raises(UserError, match=message):
        read_idx(tmp_path / "file")


def test_damaged_gzip_is_refused(tmp_path):
    write(tmp_path / "file.gz", gzip.compress(idx(np.zeros((30, 40), np.uint8)))[:-9])
    with pytest.raises(UserError, match="is damaged"):
        read_idx(tmp_path / "file")


def test_gzip_is_unpacked_no_further_than_its_header_says(tmp_path):
    bomb = idx(np.zeros((2, 2), np.uint8)) + bytes(2**28)
    write(tmp_path / "file.gz", gzip.compress(bomb, 1))
    tracemalloc.start()
    with pytest.raises(UserError, match="file has more bytes than fit"):
        read_idx(tmp_path / "file")
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_folders_loops_and_pipes_in_place_of_files(tmp_path):
    places = {
        "cifar10": "test_batch.bin",
        "fashion_mnist": "t10k-images-idx3-ubyte",
        "tiny_imagenet": "val/val_annotations.txt",
    }
    for kind, name in places.items():
        root = tmp_path / kind
        (root / "train" / "n01").mkdir(parents=True)
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.mkdir()
        with pytest.raises(UserError, match=f"{Path(name).name} cannot be read: it is a folder"):
            open_source(kind, str(root), "test")
        path.rmdir()
        path.symlink_to(path.name)
        with pytest.raises(UserError, match=rf"{Path(name).name} cannot be read \(Too many levels"):
            open_source(kind, str(root), "test")
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(UserError, match=f"{Path(name).name} cannot be read: it is no regular file"):
            open_source(kind, str(root), "test")


def test_a_sparse_file_is_not_read(tmp_path):
    with (tmp_path / "test_batch.bin").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(UserError, match=r"test_batch.bin has 1099511627776 bytes, more than the 1073741824 expected"):
        open_source("cifar10", str(tmp_path), "test")


def test_class_folders_that_lead_in_a_circle(tmp_path):
    write(tmp_path / "train/cat/a.png", image_bytes(1))
    (tmp_path / "train/dog").symlink_to("dog")
    with pytest.raises(UserError, match=r"dog cannot be read \(Too many levels"):
        open_source("image_folder", str(tmp_path), "train")
    (tmp_path / "train/dog").unlink()
    (tmp_path / "train/cat/up").symlink_to("..")
    assert len(open_source("image_folder", str(tmp_path), "train")) == 1
    with pytest.raises(UserError, match="is a file, not a folder"):
        open_source("image_folder", str(tmp_path / "train/cat"), "a.png")


def test_class_names_that_are_no_utf8(tmp_path):
    write_array_record(tmp_path / "x-train.array_record", [(image_bytes(1), 0)])
    write(tmp_path / "labels.txt", b"caf\xe9\n")
    with pytest.raises(UserError, match=r"labels.txt is no UTF-8 text \(at byte 3\)"):
        open_source("array_record", str(tmp_path), "train")
    write(tmp_path / "labels.txt", "\ufeffcafé\n".encode())
    assert open_source("array_record", str(tmp_path), "train").class_names == ("café",)
    (tmp_path / "labels.txt").unlink()
    (tmp_path / "labels.txt").mkdir()
    with pytest.raises(UserError, match=r"labels.txt cannot be read: it is a folder"):
        open_source("array_record", str(tmp_path), "train")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"val_0.JPEG\tn\xff", "val_annotations.txt is no UTF-8 text"),
        (b"val_0.JPEG n01", "line 1: no tab"),
        (b"../../secret.png\tn01", "line 1: ../../secret.png is no file's name"),
        (b"val_0.JPEG\tn\x1b[2J", r"line 1: class 'n.x1b\[2J' has no folder"),
        (b"", "is empty"),
    ],
)
def test_damaged_annotations_are_told(tmp_path, line, message):
    write(tmp_path / "train/n01/a.png", image_bytes(1))
    write(tmp_path / "val/val_annotations.txt", line)
    with pytest.raises(UserError, match=message):
        open_source("tiny_imagenet", str(tmp_path), "val")


def test_cifar10_binary_version(tmp_path):
    image = RNG.integers(0, 256, (32, 32, 3), np.uint8)
    record = bytes([7]) + image.transpose(2, 0, 1).tobytes()
    for i in range(1, 6):
        write(tmp_path / f"data_batch_{i}.bin", record * i)
    write(tmp_path / "test_batch.bin", record)
    train = open_source("cifar10", str(tmp_path), "train")
    assert (len(train), len(open_source("cifar10", str(tmp_path), "test"))) == (15, 1)
    np.testing.assert_array_equal(train[14]["image"], image)
    assert train.class_names[train[14]["label"]] == "horse"
    write(tmp_path / "test_batch.bin", record[:-1])
    with pytest.raises(UserError, match=r"test_batch.bin has 3072 bytes, no multiple of 3073"):
        open_source("cifar10", str(tmp_path), "test")


def test_image_folder(tmp_path):
    write(tmp_path / "train/cat/deep/a.JPEG", image_bytes(10, "JPEG"))
    write(tmp_path / "train/cat/b.png", image_bytes(20))
    write(tmp_path / "train/dog/c.png", image_bytes(30))
    write(tmp_path / "train/dog/notes.txt", b"no image")
    write(tmp_path / "val/dog/d.png", image_bytes(40))
    train, val = (open_source("image_folder", str(tmp_path), split) for split in ("train", "val"))
    check_classes(train, val, 2)
    assert [train[i]["label"] for i in range(3)] == [0, 0, 1]
    assert (len(val), val[0]["label"]) == (1, 1)
    assert val[0]["image"].shape == (5, 6, 3)
    assert (val[0]["image"] == 40).all()


def test_bad_image_folders(tmp_path):
    with pytest.raises(UserError, match="needs a folder"):
        open_source("image_folder", "", "train")
    with pytest.raises(UserError, match="Missing data folder"):
        open_source("image_folder", str(tmp_path), "train")
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match="holds no class folders"):
        open_source("image_folder", str(tmp_path), "train")
    (tmp_path / "train/cat").mkdir()
    with pytest.raises(UserError, match="cat holds no images"):
        open_source("image_folder", str(tmp_path), "train")
    write(tmp_path / "train/cat/a.png", image_bytes(1))
    write(tmp_path / "val/cow/a.png", image_bytes(1))
    with pytest.raises(UserError, match=r"cow is a class that .* does not have"):
        open_source("image_folder", str(tmp_path), "val")


def test_tiny_imagenet_validation_file(tmp_path):
    for name in ("n01", "n02"):
        write(tmp_path / f"train/{name}/images/{name}_0.JPEG", image_bytes(1, "JPEG"))
    write(tmp_path / "val/images/val_0.JPEG", image_bytes(200, "JPEG"))
    write(tmp_path / "val/val_annotations.txt", b"val_0.JPEG\tn02\t0\t0\t62\t62\n")
    train, val = (open_source("tiny_imagenet", str(tmp_path), split) for split in ("train", "val"))
    check_classes(train, val, 2)
    assert [val[i]["label"] for i in range(len(val))] == [1]
    assert abs(int(val[0]["image"][0, 0, 0]) - 200) < 3
    write(tmp_path / "val/val_annotations.txt", b"val_0.JPEG\tn03\n")
    with pytest.raises(UserError, match="line 1: class 'n03' has no folder"):
        open_source("tiny_imagenet", str(tmp_path), "val")


def test_array_record(tmp_path):
    examples = [(image_bytes(10 * i), i % 2) for i in range(7)]
    write_array_record(tmp_path / "pets-train.array_record", examples, ["cat", "dog"])
    source = open_source("array_record", str(tmp_path), "train")
    assert source.class_names == ("cat", "dog")
    assert [source[i]["label"] for i in range(len(source))] == [0, 1, 0, 1, 0, 1, 0]
    assert (source[6]["image"] == 60).all()
    with pytest.raises(UserError, match="No ArrayRecord files match"):
        open_source("array_record", str(tmp_path), "validation")
    write(tmp_path / "pets-validation.array_record", b"damaged")
    with pytest.raises(UserError, match="cannot be opened"):
        open_source("array_record", str(tmp_path), "validation")
    (tmp_path / "labels.txt").unlink()
    with pytest.raises(UserError, match=r"Missing .*labels.txt"):
        open_source("array_record", str(tmp_path), "train")


def test_array_records_of_other_content_are_refused(tmp_path):
    write_array_record(tmp_path / "x-train.array_record", [(b"no image", 0), (image_bytes(1), 5)], ["cat"])
    source = open_source("array_record", str(tmp_path), "train")
    with pytest.raises(UnreadableExampleError, match="Record 0"):
        source[0]
    with pytest.raises(UserError, match=r"Record 1 .* has label 5 but there are 1 classes"):
        source[1]


def test_unreadable_images_name_their_file(tmp_path):
    write(tmp_path / "train/cat/a.png", image_bytes(1)[:40])
    source = open_source("image_folder", str(tmp_path), "train")
    with pytest.raises(UnreadableExampleError, match=r"a.png cannot be decoded"):
        source[0]
    (tmp_path / "train/cat/a.png").unlink()
    with pytest.raises(UnreadableExampleError, match=r"a.png cannot be read"):
        source[0]


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header claims a size that its few bytes do not hold."""
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(100))))
    lengths = (struct.pack(">I", len(data)) for _, data in chunks)
    sums = (struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks)
    parts = (size + kind + data + crc for size, (kind, data), crc in zip(lengths, chunks, sums, strict=True))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "no known kind of image", id="empty"),
        pytest.param(b"version https://git-lfs.github.com/spec/v1", "no known kind of image", id="pointer"),
        pytest.param(image_bytes(1)[:40], "cannot be decoded", id="cut"),
        pytest.param(png_of(10_000, 10_000), "could be decompression bomb", id="large"),
        pytest.param(png_of(100_000, 100_000), "could be decompression bomb", id="huge"),
    ],
)
def test_what_is_wrong_with_an_image_is_told_without_addresses(content, message):
    with pytest.raises(UnreadableExampleError, match=message) as error:
        decode(content, "a\x1b.png")
    assert str(error.value).startswith("a\\x1b.png cannot be decoded (")
    assert "_io" not in str(error.value)


def test_unknown_sources_and_classes_are_told(tmp_path):
    with pytest.raises(UserError, match="'digits'"):
        open_source("digit", "", "train")
    digits = open_source("digits", "", "train")
    with pytest.raises(UserError, match="has 10 classes but the model has 1000"):
        check_classes(digits, digits, 1000)
    write(tmp_path / "train/a/a.png", image_bytes(1))
    write(tmp_path / "other/train/b/a.png", image_bytes(1))
    ours, theirs = (open_source("image_folder", str(p), "train") for p in (tmp_path, tmp_path / "other"))
    with pytest.raises(UserError, match="differ, first at 'a' and 'b'"):
        check_classes(ours, theirs, 1)


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def folder(root: Path, *names: str, splits: tuple[str, ...] = ("train", "val")) -> str:
    """Writes a small image of its own at each of the names in each split."""
    for value, name in enumerate(names):
        for split in splits:
            write(root / split / name, image_bytes(value))
    return str(root)


def test_every_source_of_the_table_can_be_opened(tmp_path):
    for kind in SOURCES:
        if not SOURCES[kind].path:
            assert len(open_source(kind, "", "train")) > 0
            with pytest.raises(UserError, match="unknown split 'nonsense'"):
                open_source(kind, "", "nonsense")
        else:
            with pytest.raises(UserError, match=str(tmp_path)):
                open_source(kind, str(tmp_path), "train")


def test_hidden_names_are_no_data_and_the_rest_is_counted(tmp_path, caplog):
    root = folder(
        tmp_path, "cat/a.png", "cat/.b.png", "cat/.ipynb_checkpoints/a.png", "cat/x/__MACOSX/a.png", "dog/a.png"
    )
    folder(tmp_path, ".git/a.png", "__MACOSX/cat/a.png")
    data = DataConfig(source="image_folder", path=root, held_out_split="val")
    train, held_out = open_splits(data, 2)
    assert (len(train), len(held_out), train.class_names) == (2, 2, ("cat", "dog"))
    assert not caplog.records
    folder(tmp_path, "stray.png", "dog/deep/notes.txt", "dog/more.txt", "README", splits=("train",))
    open_splits(data, 2)
    (record,) = caplog.records
    name = f"{tmp_path.name}/train"
    assert record.getMessage() == f"left out: 2 .txt files, 1 images beside the class folders, 1 other files in {name}"


def test_folders_that_cannot_be_read_are_counted(tmp_path, monkeypatch):
    root = folder(tmp_path, "cat/a.png", "cat/secret/b.png")
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    source = open_source("image_folder", root, "train")
    assert (len(source), source.left_out) == (1, "1 folders that cannot be read")


def test_links_are_followed_once(tmp_path):
    root = folder(tmp_path / "data", "cat/a.png", "cat/z/b.png", "dog/a.png")
    folder(tmp_path / "pool", "c.png", "deep/d.png", splits=("x", "y"))
    train = tmp_path / "data/train"
    before = open_source("image_folder", root, "train").files
    assert before == ("cat/a.png", "cat/z/b.png", "dog/a.png")
    for link, target in {
        "cat/again": "z",  # what is there anyway keeps its name
        "cat/z/up": "..",
        "cat/top": "../..",
        "dog/more": tmp_path / "pool/x",
        "dog/most": tmp_path / "pool/x/deep",
        "bird": tmp_path / "pool/y",  # a class
        "cat/one.png": "a.png",  # a file
    }.items():
        (train / link).symlink_to(target)
    (tmp_path / "pool/x/back").symlink_to(train / "dog")
    assert open_source("image_folder", root, "train").files == (
        "bird/c.png", "bird/deep/d.png", "cat/a.png", "cat/one.png", "cat/z/b.png",
        "dog/a.png", "dog/more/c.png", "dog/more/deep/d.png",
    )  # fmt: skip


def test_class_names_are_composed(tmp_path):
    composed, apart = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    write(tmp_path / "train" / apart / "é.png".replace("é", apart), image_bytes(1))
    write(tmp_path / "val" / composed / "b.png", image_bytes(2))
    train, val = (open_source("image_folder", str(tmp_path), split) for split in ("train", "val"))
    check_classes(train, val, 1)
    assert train.class_names == (composed,)
    assert (train[0]["image"] == 1).all()
    (tmp_path / "other").mkdir()
    write(tmp_path / "other/train" / composed / f"{composed}.png", image_bytes(1))
    assert open_source("image_folder", str(tmp_path / "other"), "train").identity == train.identity
    write(tmp_path / "train" / composed / "b.png", image_bytes(2))
    with pytest.raises(UserError, match=r"has the class .* in two encodings"):
        open_source("image_folder", str(tmp_path), "train")


def test_numbers_are_in_the_order_of_their_values(tmp_path):
    root = folder(tmp_path / "numbers", *(f"{number}/a.png" for number in (0, 1, 2, 10, 11)))
    source = open_source("image_folder", root, "val")
    assert source.class_names == ("0", "1", "2", "10", "11")
    assert [int(source[i]["image"][0, 0, 0]) for i in range(5)] == list(range(5))
    root = folder(tmp_path / "names", "10/a.png", "9/a.png", "x/a.png")
    assert open_source("image_folder", root, "train").class_names == ("10", "9", "x")


def test_a_list_of_classes_orders_the_labels(tmp_path):
    root = folder(tmp_path / "data", "cat/a.png", "dog/a.png", "2/a.png")
    shutil.rmtree(tmp_path / "data/val/cat")
    listed = tmp_path / "classes.txt"
    listed.write_text("dog\r\n2\n\ncat\n")
    train, val = (open_source("image_folder", root, split, str(listed)) for split in ("train", "val"))
    assert train.class_names == val.class_names == ("dog", "2", "cat")
    assert train.files == ("dog/a.png", "2/a.png", "cat/a.png")
    assert list(val.labels) == [0, 1]
    assert train.identity != open_source("image_folder", root, "train").identity
    for text, said in (
        ("dog\n2\n", r"lacks the class 'cat', which has a folder in .*train: correct the list"),
        ("dog\ncat\n2\ncow", "names the class 'cow', which has no folder in"),
        ("dog\ncat\n2\ndog", "names the class 'dog' 2 times"),
    ):
        listed.write_text(text)
        for split in ("train", "val"):
            with pytest.raises(UserError, match=f"classes.txt {said}"):
                open_source("image_folder", root, split, str(listed))
    shutil.rmtree(tmp_path / "data/train")
    listed.write_text("dog\n2\ncat")  # a held-out split alone may lack what is listed
    assert open_source("image_folder", root, "val", str(listed)).class_names == ("dog", "2", "cat")
    with pytest.raises(UserError, match=r"data.classes names class folders, which 'digits' does not have"):
        open_source("digits", "", "train", str(listed))


def test_tiny_imagenet_takes_a_list_of_classes(tmp_path):
    root = folder(tmp_path, "n01/a.png", "n02/a.png", splits=("train",))
    write(tmp_path / "val/val_annotations.txt", b"val_0.JPEG\tn02\n")
    write(tmp_path / "classes.txt", b"n02\nn01\n")
    train, val = (
        open_source("tiny_imagenet", root, split, str(tmp_path / "classes.txt")) for split in ("train", "val")
    )
    check_classes(train, val, 2)
    assert (train.files, list(val.labels)) == (("n02/a.png", "n01/a.png"), [0])


RAMP = np.linspace(0, 65535, 60).astype(np.uint16)
EIGHT = np.round(RAMP / 257).astype(np.uint8)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(saved(Image.fromarray(RAMP[None])), id="png"),
        pytest.param(saved(Image.fromarray(RAMP[None]), "TIFF"), id="tiff"),
        pytest.param(saved(Image.fromarray(RAMP[None].astype(np.int32)), "TIFF"), id="tiff of 32 bits"),
        pytest.param(b"P5 60 1 65535\n" + RAMP.astype(">u2").tobytes(), id="pgm"),
    ],
)
def test_sixteen_bits_are_scaled_to_eight(content):
    np.testing.assert_array_equal(decode(content, "x"), np.repeat(EIGHT[None, :, None], 3, -1))


@pytest.mark.parametrize(
    "values", [np.array([[0.0, 1.0]], np.float32), np.array([[-1, 2]], np.int32), np.array([[2**20, 0]], np.int32)]
)
def test_images_of_an_unknown_range_are_refused(values):
    with pytest.raises(UnreadableExampleError, match=r"a.tif cannot be decoded \(its values are of 32 bits"):
        decode(saved(Image.fromarray(values), "TIFF"), "a.tif")


COLOURS = Image.fromarray(RNG.integers(0, 256, (6, 9, 3), np.uint8))


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_images_are_turned_as_exif_says(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(COLOURS, kind, exif=exif)
    with Image.open(io.BytesIO(content)) as image:
        np.testing.assert_array_equal(decode(content, "x"), np.asarray(ImageOps.exif_transpose(image).convert("RGB")))
    assert decode(content, "x").shape == ((9, 6, 3) if orientation in (5, 6, 7, 8) else (6, 9, 3))


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\0\x02\x01\x12\0\x03", b"Exif\0\0xx" + bytes(40)]
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # as it is in processes that have no filters of their own
def test_damaged_exif_leaves_the_image_as_it_is(exif):
    plain = saved(COLOURS, "JPEG")
    np.testing.assert_array_equal(decode(saved(COLOURS, "JPEG", exif=exif), "x"), decode(plain, "x"))


def test_damaged_exif_is_not_warned_of():
    content = saved(COLOURS, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x02\x01\x12\0\x03")
    code = f"from nfnet.data.folder import decode; print(decode({content!r}, 'x').shape)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("(6, 9, 3)\n", "")


def test_other_modes_become_rgb_without_warnings():
    grey = COLOURS.convert("L")
    palette = COLOURS.quantize(16)
    opaque = np.asarray(palette.convert("RGB"))
    see_through = [saved(palette, transparency=given) for given in (bytes(range(16)), 3)]
    for content, expected in (
        *((content, opaque) for content in see_through),
        (saved(grey, transparency=7), np.asarray(grey.convert("RGB"))),
        (saved(Image.merge("LA", (grey, grey))), np.asarray(grey.convert("RGB"))),
        (saved(Image.merge("RGBA", (*COLOURS.split(), grey))), np.asarray(COLOURS)),
        (saved(COLOURS, transparency=(1, 2, 3)), np.asarray(COLOURS)),
        (saved(grey.convert("1")), np.asarray(grey.convert("1").convert("RGB"))),
        (saved(COLOURS.convert("CMYK"), "TIFF"), np.asarray(COLOURS.convert("CMYK").convert("RGB"))),
    ):
        np.testing.assert_array_equal(decode(content, "x"), expected)


def test_the_identity_is_of_what_is_read_and_not_of_where(tmp_path, monkeypatch):
    root = folder(tmp_path / "a/data", "cat/a.png", "dog/b.png")
    identity = open_source("image_folder", root, "train").identity
    assert identity.startswith("sha256:")
    shutil.copytree(root, tmp_path / "elsewhere")
    (tmp_path / "link").symlink_to(root)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in (tmp_path / "elsewhere", "a/../a/data/", "link", "~/link"):
        assert open_source("image_folder", str(path), "train").identity == identity
    (tmp_path / "elsewhere/train/dog/b.png").rename(tmp_path / "elsewhere/train/dog/c.png")
    assert open_source("image_folder", "elsewhere", "train").identity != identity
    (tmp_path / "a/data/train/dog").rename(tmp_path / "a/data/train/cow")
    assert open_source("image_folder", root, "train").identity != identity


def test_the_identity_of_arrays_and_records_is_of_their_content(tmp_path):
    record = bytes([7]) + bytes(3072)
    for folder, content in (("a", record), ("b", record), ("c", b"\x06" + record[1:]), ("d", record[:-1] + b"x")):
        write(tmp_path / folder / "test_batch.bin", content)
    first, same, *others = (open_source("cifar10", str(tmp_path / name), "test").identity for name in "abcd")
    assert first == same
    assert len({first, *others}) == 3
    for folder, values in (("e", (1, 2)), ("f", (1, 2)), ("g", (1, 2, 3))):
        (tmp_path / folder).mkdir()
        write_array_record(tmp_path / folder / "x-train.array_record", [(image_bytes(v), 0) for v in values], ["cat"])
    first, same, other = (open_source("array_record", str(tmp_path / name), "train").identity for name in "efg")
    assert first == same != other


@pytest.mark.parametrize("address", ["gs://bucket/x", "s3://x", "http://x/y", "gs:/x", "file:///x"])
def test_addresses_are_no_folders(tmp_path, address, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=rf"data.path is {address}, but \w+:// is not read"):
        open_source("image_folder", address, "train")
    with pytest.raises(UserError, match=r"data.classes is .*, but"):
        open_source("image_folder", str(tmp_path), "train", address)
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match=r"data.path is "):
        DataConfig(path=address)


@pytest.mark.parametrize(("n", "every"), [(1, 2), (12, 2), (13, 3), (40, 7), (5, 100)])
def test_parts_share_nothing(tmp_path, n, every):
    whole = open_source("image_folder", folder(tmp_path, *(f"c/{i:02}.png" for i in range(n))), "train")
    parts = [part(whole, every, held_out=held_out) for held_out in (False, True)]
    seen = [[int(one[i]["image"][0, 0, 0]) for i in range(len(one))] for one in parts]
    assert seen[1] == list(range(n))[every - 1 :: every]
    assert seen[0] == sorted(set(range(n)) - set(seen[1]))
    assert len({whole.identity, *(one.identity for one in parts)}) == 3


def test_a_part_of_the_training_split_is_held_out():
    data = DataConfig(source="digits", hold_out_every=10)
    train, held_out = open_splits(data, 10)
    assert (len(train), len(held_out)) == (1294, 143)
    assert (train.name, held_out.name) == ("digits/train (all but one in 10)", "digits/train (one in 10)")
    assert open_held_out(data, 10).identity == held_out.identity
    with pytest.raises(UserError, match=r"digits/train \(one in 2000\) has no images"):
        open_splits(DataConfig(source="digits", hold_out_every=2000), 10)
    with pytest.raises(UserError, match=r"data.hold_out_every is 1"):
        DataConfig(hold_out_every=1)


def test_results_need_images():
    check_readable(0, 1, "x")
    check_readable(10, 100, "x")
    check_readable(99, 100, "x", 1.0)
    for unreadable, images, share, said in (
        (0, 0, 0.1, "imagenet/val has no images"),
        (400, 400, 1.0, "none of the 400 images of imagenet/val could be read"),
        (11, 100, 0.1, r"11 of the 100 images of imagenet/val .* the share of 0.1 that data.unreadable_share allows"),
        (1, 1000, 0.0, "1 of the 1000 images"),
    ):
        with pytest.raises(UserError, match=said):
            check_readable(unreadable, images, "imagenet/val", share)
