"""Files of weights: archives of NumPy arrays, safetensors and pickles, known by their contents.

Whatever is wrong with a file is one sentence. All formats accept the same: arrays of floating-point numbers, exactly
as many as the file holds bytes for. Nothing in a file is run, and no file is unpacked to many times its size.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO

import jax.numpy as jnp
import numpy as np
import safetensors

from nfnet.errors import UserError, printable
from nfnet.files import local_path, replacing
from nfnet.weights.pickles import NO_FLOATS, TORCH, WHOLE_NUMBERS, read_pickle

__all__ = ["Arrays", "State", "read_metadata", "read_weights", "refuse_non_finite", "write_safetensors"]

State = Mapping[str, np.ndarray]
Arrays = Mapping[str, Mapping[str, np.ndarray]]

_ENCRYPTED = 0x1  # of a zip member's flags
_UNPACKED = 3  # times the file's size that its members may have together, beside the next
_ALLOWANCE = 64 * 2**20
_LONGEST_HEADER = 10_000
_FIELD = re.compile(
    r"""['"](?P<name>descr|fortran_order|shape)['"] *: *(?P<value>'[^']*'|"[^"]*"|True|False|\([0-9, ]*\))"""
)
_SAFETENSORS = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": jnp.bfloat16}


def read_weights(path: str | os.PathLike[str]) -> State:
    """Reads a file of weights.

    Args:
        path: An .npz archive, a .safetensors file, or a pickle of {module: {name: array}}, whatever its suffix.

    Returns:
        Arrays by the names that the file gives them; those of a pickle by "module/name".

    Raises:
        UserError: If it cannot be read, is damaged, or holds anything but floating-point arrays.
    """
    path = local_path(path, "the file of weights")
    name = printable(path.name)
    if _is_safetensors(_begin(path)):
        return _read_safetensors(path, name)
    with _opened(path) as file:
        data = file.read()
    if data.startswith(b"PK"):
        return _read_npz(data, name)
    params = read_pickle(data, name)
    return {f"{module}/{key}": value for module, group in params.items() for key, value in group.items()}


def read_metadata(path: str | os.PathLike[str]) -> Mapping[str, str]:
    """Returns the texts that a .safetensors file holds beside its arrays; other files hold none.

    Raises:
        UserError: As `read_weights` does.
    """
    path = local_path(path, "the file of weights")
    if not _is_safetensors(_begin(path)):
        return {}
    with _safetensors(path, printable(path.name)) as file:
        return file.metadata() or {}


def write_safetensors(path: Path, arrays: State, metadata: Mapping[str, str]) -> None:
    """Writes arrays by name, as they are, and texts beside them.

    Raises:
        UserError: It cannot be written; what was there is then left as it was.
    """
    from safetensors.numpy import save_file

    with replacing(path) as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        try:
            save_file({key: np.asarray(value, order="C") for key, value in arrays.items()}, file.name, dict(metadata))
        except safetensors.SafetensorError as error:  # what the library makes of a full disk
            raise UserError(
                f"{printable(path)} cannot be written ({printable(error)}): choose another place."
            ) from None
        os.chmod(file.name, mode)  # the library puts a file of its own there, which nobody else may read


def refuse_non_finite(arrays: Arrays, source: str) -> None:
    """Refuses weights that are not finite, as float32, which parameters are.

    Raises:
        UserError: Naming the first array that holds NaN or infinity, and how many do.
    """
    with np.errstate(over="ignore"):
        names = [
            f"{module}/{name}"
            for module, group in arrays.items()
            for name, value in group.items()
            if not np.isfinite(value.astype(np.float32, copy=False)).all()
        ]
    if names:
        raise UserError(
            f"{source}: {printable(names[0])} holds numbers that are not finite"
            + (f", and {len(names) - 1} more arrays do" if len(names) > 1 else "")
            + ": the training that made it diverged, or the file is damaged; nfnet.load(..., "
            "allow_non_finite=True) takes it, as do the commands that have --allow-non-finite."
        )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Opens a file, without buffers, and turns what is wrong with it into a sentence."""
    shown = printable(path)
    try:
        # A pipe is opened without waiting for its writer, and then refused.
        opener = lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))  # noqa: E731
        with open(path, "rb", buffering=0, opener=opener) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UserError(f"{shown} is no file: pass a file of weights.")
            yield file
    except OSError as error:
        raise UserError(f"{shown} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{shown} is no name of a file.") from error


def _begin(path: Path) -> bytes:
    with _opened(path) as file:
        return file.read(9)


def _is_safetensors(begin: bytes) -> bool:
    return begin[8:] == b"{" and not begin.startswith(b"PK")


def _read_npz(data: bytes, name: str) -> State:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            _check_members(members, len(data), name)
            return {member.filename.removesuffix(".npy"): _read_member(archive, member, name) for member in members}
    except UserError:
        raise
    except (
        zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, RuntimeError, ValueError, LookupError,
        TypeError, OverflowError, MemoryError,
    ) as error:  # fmt: skip
        raise UserError(f"{name} is truncated or no archive of plain NumPy arrays.") from error


def _check_members(members: list[zipfile.ZipInfo], size: int, name: str) -> None:
    names = [member.filename for member in members]
    if any(one.endswith("data.pkl") for one in names):
        raise UserError(f"{name} {TORCH}")
    if len(set(names)) != len(names):
        raise UserError(f"{name} holds an array twice: it is no archive that NumPy writes.")
    for member in members:
        if not member.filename.endswith(".npy"):
            raise UserError(f"{name} holds {printable(member.filename)}, which is no NumPy array.")
        if member.flag_bits & _ENCRYPTED:
            raise UserError(f"{name}: {printable(member.filename)} is encrypted: save the arrays without a password.")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UserError(f"{name}: {printable(member.filename)} is compressed by a method that NumPy does not use.")
    unpacked = sum(member.file_size for member in members)
    if unpacked > _UNPACKED * size + _ALLOWANCE:
        raise UserError(f"{name} has {size:,} bytes and would unpack to {unpacked:,}: save the arrays uncompressed.")


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> np.ndarray:
    key = printable(member.filename.removesuffix(".npy"))
    with archive.open(member) as file:
        dtype, fortran, shape = _read_header(file, f"{name}: {key}")
        content = file.read(member.file_size)  # no more than was promised; zipfile checks its sum
    if len(content) != math.prod(shape) * dtype.itemsize:
        raise UserError(f"{name}: {key} has {len(content):,} bytes, which is not what its shape and type need.")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")


def _read_header(file: IO[bytes], what: str) -> tuple[np.dtype[Any], bool, tuple[int, ...]]:
    """Reads type, order and shape of an .npy file: a Python dictionary, of which only these three are looked for."""
    magic = file.read(8)
    if magic[:6] != b"\x93NUMPY" or magic[6:] not in (b"\1\0", b"\2\0", b"\3\0"):
        raise UserError(f"{what} has no format of NumPy's arrays that is known.")
    length = int.from_bytes(file.read(2 if magic[6] == 1 else 4), "little")
    header = file.read(min(length, _LONGEST_HEADER)).decode("latin1")
    found = [(match["name"], match["value"]) for match in _FIELD.finditer(header)]
    fields = dict(found)
    complete = len(found) == 3 and fields.keys() == {"descr", "fortran_order", "shape"}
    if length > _LONGEST_HEADER or len(header) < length or not complete:
        raise UserError(f"{what} has a damaged header, or is a structured array: weights are floating-point arrays.")
    kind = fields["descr"].strip("\"'")
    if not re.fullmatch("[<>=|]?f[248]", kind):
        remedy = WHOLE_NUMBERS if re.fullmatch("[<>=|]?[iub][1248]", kind) else NO_FLOATS
        raise UserError(f"{what} is of type {printable(kind)}: {remedy}")
    shape = tuple(int(size) for size in re.findall("[0-9]{1,20}", fields["shape"]))
    return np.dtype(kind), fields["fortran_order"] == "True", shape


def _read_safetensors(path: Path, name: str) -> State:
    with _safetensors(path, name) as file:
        state = {}
        for key in file.keys():  # noqa: SIM118 (it is no dictionary)
            kind = file.get_slice(key).get_dtype()
            if kind not in _SAFETENSORS:
                remedy = WHOLE_NUMBERS if re.fullmatch("[IU](8|16|32|64)|BOOL", kind) else NO_FLOATS
                raise UserError(f"{name}: {printable(key)} is of type {printable(kind)}: {remedy}")
            try:
                state[key] = file.get_tensor(key)
            except ValueError as error:  # more axes than NumPy has
                raise UserError(f"{name}: {printable(key)} has a shape that no array has.") from error
        return state


@contextlib.contextmanager
def _safetensors(path: Path, name: str) -> Iterator[Any]:
    """Opens a regular file of safetensors, which the library maps into memory."""
    try:
        with safetensors.safe_open(path, framework="np") as file:
            yield file
    except UserError:
        raise
    except (safetensors.SafetensorError, ValueError, OverflowError) as error:
        raise UserError(f"{name} is truncated or no safetensors file ({printable(error)}).") from error
