"""ArrayRecord files of `tf.train.Example` messages, the layout in which TFDS stores ImageNet and its like.

Each message holds the features `image/encoded` or `image` (an encoded image) and `label` or
`image/class/label` (an integer). A text file `labels.txt` beside the records, one class a line, names the
classes.
"""

from __future__ import annotations

import functools
import glob
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nfnet.data.folder import decode
from nfnet.data.sources import Example, UnreadableExampleError
from nfnet.errors import UserError, printable
from nfnet.files import read_text_file, reason

_IMAGE_KEYS = ("image/encoded", "image")
_LABEL_KEYS = ("label", "image/class/label")


@functools.cache
def example_message() -> Any:
    """The protocol buffer class of `tf.train.Example`, built here so that TensorFlow is not needed."""
    from google.protobuf import (  # type: ignore[import-untyped, unused-ignore]
        descriptor_pb2,
        descriptor_pool,
        message_factory,
    )

    package = "nfnet.tf_example"  # TensorFlow, if installed, registers the original name
    file = descriptor_pb2.FileDescriptorProto(name="nfnet/tf_example.proto", package=package, syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto

    def message(name: str, *fields: tuple[str, int, int, str, bool]) -> descriptor_pb2.DescriptorProto:
        result = file.message_type.add(name=name)
        for field_name, number, kind, type_name, repeated in fields:
            entry = result.field.add(name=field_name, number=number, type=kind)
            entry.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            if type_name:
                entry.type_name = f".{package}.{type_name}"
        return result

    message("BytesList", ("value", 1, kinds.TYPE_BYTES, "", True))
    message("FloatList", ("value", 1, kinds.TYPE_FLOAT, "", True))
    message("Int64List", ("value", 1, kinds.TYPE_INT64, "", True))
    feature = message(
        "Feature",
        ("bytes_list", 1, kinds.TYPE_MESSAGE, "BytesList", False),
        ("float_list", 2, kinds.TYPE_MESSAGE, "FloatList", False),
        ("int64_list", 3, kinds.TYPE_MESSAGE, "Int64List", False),
    )
    feature.oneof_decl.add(name="kind")
    for entry in feature.field:
        entry.oneof_index = 0
    features = message("Features", ("feature", 1, kinds.TYPE_MESSAGE, "Features.FeatureEntry", True))
    pair = features.nested_type.add(name="FeatureEntry")
    pair.options.map_entry = True
    pair.field.add(name="key", number=1, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL)
    pair.field.add(
        name="value",
        number=2,
        type=kinds.TYPE_MESSAGE,
        label=kinds.LABEL_OPTIONAL,
        type_name=f".{package}.Feature",
    )
    message("Example", ("features", 1, kinds.TYPE_MESSAGE, "Features", False))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.Example"))


@dataclass(frozen=True, eq=False)
class RecordSource:
    """Examples in ArrayRecord files; a reader is opened in each process that reads."""

    name: str
    class_names: tuple[str, ...]
    files: tuple[str, ...]
    _reader: Any = field(repr=False)

    def __len__(self) -> int:
        return len(self._reader)

    def __getitem__(self, index: int) -> Example:
        where = f"Record {index} of {printable(self.name)}"
        try:
            message = example_message().FromString(self._reader[index])
        except Exception as error:
            raise UnreadableExampleError(f"{where} cannot be read ({reason(error)}): write the file again.") from None
        feature = message.features.feature
        image = [value for key in _IMAGE_KEYS if key in feature for value in feature[key].bytes_list.value]
        label = [value for key in _LABEL_KEYS if key in feature for value in feature[key].int64_list.value]
        if len(image) != 1 or len(label) != 1:
            raise UserError(
                f"{where} has no single image ({' or '.join(_IMAGE_KEYS)}) and label "
                f"({' or '.join(_LABEL_KEYS)}) but "
                f"{printable(', '.join(sorted(feature))) or 'nothing'}: convert the data to these names."
            )
        if not 0 <= label[0] < len(self.class_names):
            raise UserError(f"{where} has label {label[0]} but there are {len(self.class_names)} classes.")
        return {"image": decode(image[0], where), "label": int(label[0])}


def array_record(path: str, split: str) -> RecordSource:
    """Opens the files of one split.

    Args:
        path: a folder, of which the files `*{split}*.array_record*` are read in sorted order, with
            `labels.txt`.
        split: part of the file names.

    Raises:
        UserError: no such files, no `labels.txt` in UTF-8, or a damaged file.
    """
    from grain.sources import ArrayRecordDataSource

    pattern = os.path.join(glob.escape(path), f"*{split}*.array_record*")
    files = tuple(sorted(glob.glob(pattern)))
    if not files:
        raise UserError(f"No ArrayRecord files match {printable(pattern)}: pass their folder with --config.data.path.")
    labels = Path(path) / "labels.txt"
    if not labels.exists():
        raise UserError(f"Missing {printable(labels)}: write one class name a line, in the order of the labels.")
    names = tuple(read_text_file(labels).splitlines())
    for file in files:
        if not os.path.isfile(file):  # the reader would wait for a pipe
            raise UserError(f"{printable(file)} is no regular file: put the ArrayRecord file itself there.")
    try:
        reader: Any = ArrayRecordDataSource(list(files))
        length = len(reader)
    except Exception as error:
        raise UserError(
            f"The ArrayRecord files {printable(pattern)} cannot be opened ({reason(error)}): write them again."
        ) from None
    if not length:
        raise UserError(f"The ArrayRecord files {printable(pattern)} are empty.")
    return RecordSource(f"{Path(path).name}/{split}", names, files, reader)


def write_array_record(
    path: Path, examples: Iterable[tuple[bytes, int]], class_names: Iterable[str] | None = None
) -> None:
    """Writes encoded images and labels as one ArrayRecord file, and `labels.txt` beside it.

    Args:
        path: the file; by convention NAME-SPLIT.array_record.
        examples: pairs of an encoded image and its label.
        class_names: written to `labels.txt` if given.
    """
    from array_record.python import array_record_module  # type: ignore[import-untyped, unused-ignore]

    temporary = path.with_name(path.name + ".partial")
    # Groups of one record make random access cheap, as grain recommends.
    writer = array_record_module.ArrayRecordWriter(str(temporary), "group_size:1")
    for image, label in examples:
        message = example_message()()
        message.features.feature["image/encoded"].bytes_list.value.append(image)
        message.features.feature["label"].int64_list.value.append(label)
        writer.write(message.SerializeToString())
    writer.close()
    if class_names is not None:
        (path.parent / "labels.txt").write_text("".join(f"{name}\n" for name in class_names))
    os.replace(temporary, path)
