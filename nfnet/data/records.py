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
from nfnet.data.source import Example, UnreadableExampleError, composed, digest
from nfnet.errors import UserError, printable
from nfnet.files import read_text_file, reason, replacing

_IMAGE_KEYS = ("image/encoded", "image")
_LABEL_KEYS = ("label", "image/class/label")


# TensorFlow, if installed, registers the package of the original name.
_MESSAGES = """
name: "nfnet/tf_example.proto" package: "nfnet.tf_example" syntax: "proto3"
message_type { name: "BytesList" field { name: "value" number: 1 type: TYPE_BYTES label: LABEL_REPEATED } }
message_type { name: "FloatList" field { name: "value" number: 1 type: TYPE_FLOAT label: LABEL_REPEATED } }
message_type { name: "Int64List" field { name: "value" number: 1 type: TYPE_INT64 label: LABEL_REPEATED } }
message_type {
  name: "Feature"
  oneof_decl { name: "kind" }
  field { name: "bytes_list" number: 1 type: TYPE_MESSAGE type_name: "BytesList" oneof_index: 0 }
  field { name: "float_list" number: 2 type: TYPE_MESSAGE type_name: "FloatList" oneof_index: 0 }
  field { name: "int64_list" number: 3 type: TYPE_MESSAGE type_name: "Int64List" oneof_index: 0 }
}
message_type {
  name: "Features"
  nested_type {
    name: "FeatureEntry"
    options { map_entry: true }
    field { name: "key" number: 1 type: TYPE_STRING }
    field { name: "value" number: 2 type: TYPE_MESSAGE type_name: "Feature" }
  }
  field { name: "feature" number: 1 type: TYPE_MESSAGE type_name: "FeatureEntry" label: LABEL_REPEATED }
}
message_type { name: "Example" field { name: "features" number: 1 type: TYPE_MESSAGE type_name: "Features" } }
"""


@functools.cache
def example_message() -> Any:
    """The protocol buffer class of `tf.train.Example`, built here so that TensorFlow is not needed."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

    pool = descriptor_pool.DescriptorPool()
    pool.Add(text_format.Parse(_MESSAGES, descriptor_pb2.FileDescriptorProto()))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("nfnet.tf_example.Example"))


@dataclass(frozen=True, eq=False)
class RecordSource:
    """Examples in ArrayRecord files; a reader is opened in each process that reads."""

    name: str
    class_names: tuple[str, ...]
    files: tuple[str, ...]
    _reader: Any = field(repr=False)
    left_out: str = ""

    @functools.cached_property
    def identity(self) -> str:
        """See `Source`: of the files' names and sizes, not of what is in them."""
        sizes = [item for file in self.files for item in (os.path.basename(file), os.path.getsize(file))]
        return digest(self.class_names, [len(self), *sizes])

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
                f"{where} has no single image ({' or '.join(_IMAGE_KEYS)}) and label ({' or '.join(_LABEL_KEYS)}) "
                f"but {printable(', '.join(sorted(feature))) or 'nothing'}: convert the data to these names."
            )
        if not 0 <= label[0] < len(self.class_names):
            raise UserError(f"{where} has label {label[0]} but there are {len(self.class_names)} classes.")
        return {"image": decode(image[0], where), "label": int(label[0])}


def array_record(folder: Path, split: str) -> RecordSource:
    """Opens the files of one split.

    Args:
        folder: of which the files `*{split}*.array_record*` are read in sorted order, with `labels.txt`.
        split: part of the file names.

    Raises:
        UserError: no such files, no `labels.txt` in UTF-8, or a damaged file.
    """
    from grain.sources import ArrayRecordDataSource

    pattern = os.path.join(glob.escape(str(folder)), f"*{split}*.array_record*")
    files = tuple(sorted(glob.glob(pattern)))
    if not files:
        raise UserError(f"No ArrayRecord files match {printable(pattern)}: pass their folder with --config.data.path.")
    labels = folder / "labels.txt"
    if not labels.exists():
        raise UserError(f"Missing {printable(labels)}: write one class name a line, in the order of the labels.")
    names = tuple(map(composed, read_text_file(labels).splitlines()))
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
    return RecordSource(f"{folder.name}/{split}", names, files, reader)


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

    with replacing(path) as file:
        # Groups of one record make random access cheap, as grain recommends.
        writer = array_record_module.ArrayRecordWriter(file.name, "group_size:1")
        for image, label in examples:
            message = example_message()()
            message.features.feature["image/encoded"].bytes_list.value.append(image)
            message.features.feature["label"].int64_list.value.append(label)
            writer.write(message.SerializeToString())
        writer.close()
    if class_names is not None:
        with replacing(path.parent / "labels.txt") as file:
            file.write("".join(f"{name}\n" for name in class_names).encode())
