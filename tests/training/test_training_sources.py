import gzip
import io
import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nfnet.data.arrays import read_idx
from nfnet.data.folder import decode
from nfnet.data.records import write_array_record
from nfnet.data.sources import UnreadableExampleError, check_classes, open_source
from nfnet.errors import UserError

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
