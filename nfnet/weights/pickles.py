"""Pickles of NumPy arrays, read without running anything that they ask for.

A pickle is a program for a stack machine that calls functions by name. Here that machine is a small one of our own: it
knows the instructions that containers and arrays are written with, calls nothing, and only records what was to be
called. Arrays are then made from the records: of floating-point types on a fixed list, from bytes that are in the file,
exactly as many as shape and type say. Nothing that NumPy or Python would run for a pickle is reached, so that no state,
type or attribute of the file's choice is.

The released NFNets are such files, written by dill, which calls a few functions of its own.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from nfnet.errors import UserError, printable

__all__ = ["read_pickle"]

TORCH = (
    "is a file of PyTorch, whose pickles are not followed: save its weights by "
    "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')."
)
NO_FLOATS = "weights are floating-point arrays."
WHOLE_NUMBERS = (
    "whole numbers are counters or indices (such as num_batches_tracked, position_ids), no weights: leave them out "
    "when saving the file."
)
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C  # with which its older files begin

_MOST_INSTRUCTIONS = 1_000_000  # an array takes some thirty; the largest network has two thousand
_LONGEST_NAME = 1000
_MOST_AXES = 64  # NumPy's own limit


class _Global(NamedTuple):
    """A function or class that the file names."""

    module: str
    name: str


@dataclass(eq=False)
class _Call:
    """A call that the file asks for, which is not made, and the state that its result was to be given."""

    function: _Global
    args: tuple[Any, ...]
    state: Any = None


class _Mark:
    """Where a group of values on the stack begins."""


_MARK = _Mark()

# Modules have moved between versions of NumPy and Python.
_SPELLINGS = {
    "numpy._core": "numpy.core",
    "numpy._core.multiarray": "numpy.core.multiarray",
    "numpy._core.numeric": "numpy.core.numeric",
    "numpy.core._multiarray_umath": "numpy.core.multiarray",
    "numpy._core._multiarray_umath": "numpy.core.multiarray",
    "__builtin__": "builtins",
}
_NDARRAY = _Global("numpy", "ndarray")
_DTYPE = _Global("numpy", "dtype")
_BFLOAT16 = _Global("ml_dtypes", "bfloat16")
_RECONSTRUCT = _Global("numpy.core.multiarray", "_reconstruct")
_SCALAR = _Global("numpy.core.multiarray", "scalar")
_FROM_BUFFER = _Global("numpy.core.numeric", "_frombuffer")
_CREATE_ARRAY = _Global("dill._dill", "_create_array")
_IMPORT_MODULE = _Global("dill._dill", "_import_module")
_GET_ATTRIBUTE = _Global("dill._dill", "_get_attr")
_ORDERED_DICT = _Global("collections", "OrderedDict")
_ENCODE = _Global("_codecs", "encode")
_BYTES = _Global("builtins", "bytes")
_KNOWN = {
    _NDARRAY, _DTYPE, _BFLOAT16, _RECONSTRUCT, _SCALAR, _FROM_BUFFER, _CREATE_ARRAY, _IMPORT_MODULE, _GET_ATTRIBUTE,
    _ORDERED_DICT, _ENCODE, _BYTES,
}  # fmt: skip
_FLOATS = ("f2", "f4", "f8")
_CONSTANTS: Mapping[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
_STORES = {"PUT", "BINPUT", "LONG_BINPUT"}
_FETCHES = {"GET", "BINGET", "LONG_BINGET"}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Damaged(Exception):
    """The file is no pickle that this machine can follow."""


def read_pickle(data: bytes, source: str) -> dict[str, dict[str, np.ndarray]]:
    """Reads parameters {module: {name: array}} from a pickle.

    Args:
        data: Its bytes.
        source: The file's name, for error messages.

    Raises:
        UserError: If it is damaged, holds anything but floating-point arrays, or asks for anything else.
    """
    try:
        content = _Machine(source).run(data)
    except UserError:
        raise
    except (_Damaged, LookupError, ValueError, TypeError, OverflowError, EOFError) as error:
        raise UserError(f"{source} is truncated or no checkpoint of a known format.") from error
    if content == _TORCH_MAGIC:
        raise UserError(f"{source} {TORCH}")
    if not isinstance(content, dict) or not content:
        kind = "record" if isinstance(content, _Call | _Global | _Mark) else type(content).__name__
        raise UserError(f"{source} holds no parameters {{module: {{name: array}}}}, but a {kind}.")
    arrays = _Arrays(source, len(data))
    params: dict[str, dict[str, np.ndarray]] = {}
    seen: set[int] = set()
    for module, group in content.items():
        if not isinstance(group, dict) or id(group) in seen:  # one group as many modules would grow without end
            raise UserError(f"{source}: {printable(module)} is no module with parameters of its own.")
        seen.add(id(group))
        params[module] = {name: arrays.make(value, f"{module}/{name}") for name, value in group.items()}
    return params


@dataclass
class _Machine:
    """Follows the instructions of a pickle; what they ask to call is recorded."""

    source: str
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)  # values that the file refers to again
    pairs: int = 0  # of names and values, copied from lists

    def run(self, data: bytes) -> Any:
        """Returns what the pickle is of."""
        for number, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if number >= _MOST_INSTRUCTIONS:
                raise UserError(
                    f"{self.source} has more than {_MOST_INSTRUCTIONS:,} instructions: it is no checkpoint."
                )
            if opcode.name == "STOP":
                (result,) = self.stack
                return result
            self._follow(opcode.name, argument)
        raise _Damaged

    def _follow(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _LITERALS:
            stack.append(argument)
        elif name in _STORES:
            if not 0 <= argument < _MOST_INSTRUCTIONS:
                raise _Damaged
            self.memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in _FETCHES:
            stack.append(self.memo[argument])
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name == "MARK":
            stack.append(_MARK)
        elif name in _TUPLES:
            stack.append(tuple(self._take(_TUPLES[name])))
        elif name not in ("PROTO", "FRAME"):
            handler = _HANDLERS.get(name)
            if handler is None:
                raise UserError(f"{self.source} has the instruction {name}, which no array needs: it is not read.")
            handler(self, argument)

    def _take(self, count: int) -> list[Any]:
        """Takes values from the top of the stack, in the order in which they came."""
        if count > len(self.stack):
            raise _Damaged
        taken = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return taken

    def _take_group(self) -> list[Any]:
        """Takes all values since the last mark, and the mark."""
        for count, value in enumerate(reversed(self.stack)):
            if value is _MARK:
                group = self._take(count)
                self.stack.pop()
                return group
        raise _Damaged

    def _dict(self) -> None:
        group = self._take_group()
        self.stack.append({})
        self._fill(group)

    def _extend(self, values: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise _Damaged
        self.stack[-1].extend(values)

    def _fill(self, values: list[Any]) -> None:
        """Adds names and values, which take turns, to the dictionary on top."""
        top = self.stack[-1]
        if not isinstance(top, dict):
            raise _Damaged
        for key, value in zip(values[::2], values[1::2], strict=True):
            # Numbers of a file's choice could all meet in one place of the table; long names are copied for each array.
            if type(key) is not str or len(key) > _LONGEST_NAME:
                raise UserError(f"{self.source} has a key that is no name: it holds no parameters by name.")
            top[key] = value

    def _known(self, module: Any, name: Any) -> _Global:
        if type(module) is not str or type(name) is not str:
            raise _Damaged
        found = _Global(_SPELLINGS.get(module, module), name)
        if module.partition(".")[0] == "torch":
            raise UserError(f"{self.source} {TORCH}")
        if found not in _KNOWN:
            raise UserError(
                f"{self.source} refers to {printable(module)}.{printable(name)}: only NumPy arrays are loaded from a "
                "pickle."
            )
        return found

    def _reduce(self) -> None:
        function, args = self._take(2)
        if not isinstance(function, _Global) or not isinstance(args, tuple):
            raise _Damaged
        if function == _IMPORT_MODULE:
            self.stack.append(args[0])  # its name
        elif function == _GET_ATTRIBUTE:
            self.stack.append(self._known(*args))  # dill writes some globals as attributes of a module it imports
        elif function == _ORDERED_DICT:
            self.stack.append({})
            pairs = args[0] if args else []
            if not isinstance(pairs, list | tuple):
                raise _Damaged
            self.pairs += len(pairs)
            if self.pairs > _MOST_INSTRUCTIONS:  # one list may be named many times
                raise _Damaged
            self._fill([part for key, value in pairs for part in (key, value)])
        else:
            self.stack.append(_Call(function, args))

    def _build(self) -> None:
        (state,) = self._take(1)
        top = self.stack[-1]
        if not isinstance(top, _Call) or top.state is not None:
            raise _Damaged
        top.state = state


_HANDLERS: Mapping[str, Callable[[_Machine, Any], object]] = {
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine._take_group())),
    "LIST": lambda machine, _: machine.stack.append(machine._take_group()),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "DICT": lambda machine, _: machine._dict(),
    "APPEND": lambda machine, _: machine._extend(machine._take(1)),
    "APPENDS": lambda machine, _: machine._extend(machine._take_group()),
    "SETITEM": lambda machine, _: machine._fill(machine._take(2)),
    "SETITEMS": lambda machine, _: machine._fill(machine._take_group()),
    "POP": lambda machine, _: machine._take(1),
    "POP_MARK": lambda machine, _: machine._take_group(),
    "DUP": lambda machine, _: machine.stack.append(machine.stack[-1]),
    "GLOBAL": lambda machine, argument: machine.stack.append(machine._known(*argument.partition(" ")[::2])),
    "STACK_GLOBAL": lambda machine, _: machine.stack.append(machine._known(*machine._take(2))),
    "REDUCE": lambda machine, _: machine._reduce(),
    "BUILD": lambda machine, _: machine._build(),
}


@dataclass
class _Arrays:
    """Makes arrays from records, of no more bytes than the file has, however often it names them."""

    source: str
    budget: int

    def make(self, record: Any, name: str) -> np.ndarray:
        """Returns the array that a record describes.

        Raises:
            UserError: If it describes none of a floating-point type.
        """
        try:
            dtype, shape, fortran, raw = self._parts(record)
            kind = self._floating(dtype, name)
            content = self._content(raw)
            if not isinstance(shape, tuple | list) or len(shape) > _MOST_AXES:
                raise _Damaged
            sizes = [self._size(size) for size in shape]
            if len(content) == math.prod(sizes) * kind.itemsize:
                return np.frombuffer(content, kind).reshape(sizes, order="F" if fortran else "C")
        except UserError:
            raise
        except (_Damaged, LookupError, ValueError, TypeError, OverflowError) as error:
            raise UserError(f"{self.source}: parameter {printable(name)} is no floating-point array.") from error
        raise UserError(
            f"{self.source}: parameter {printable(name)} has {len(content):,} bytes, which is not what its shape and "
            "type need: the file is damaged."
        )

    def _parts(self, record: Any) -> tuple[Any, tuple[Any, ...], bool, Any]:
        """Returns type, shape, whether columns come first, and bytes."""
        if not isinstance(record, _Call):
            raise _Damaged
        if record.function == _SCALAR:
            dtype, raw = record.args
            return dtype, (), False, raw
        if record.function == _FROM_BUFFER:
            raw, dtype, shape, order = record.args
            return dtype, shape, order == "F", raw
        function, state = record.function, record.state
        if function == _CREATE_ARRAY:
            function, _, state = record.args[:3]
        if function != _RECONSTRUCT or not isinstance(state, tuple):
            raise _Damaged
        shape, dtype, fortran, raw = state[-4:]  # a version comes before
        return dtype, shape, fortran is True or fortran == 1, raw

    def _floating(self, record: Any, what: str) -> np.dtype[Any]:
        if not isinstance(record, _Call) or record.function != _DTYPE:
            raise _Damaged
        name, order = record.args[0], "="
        if record.state is not None:
            order = record.state[1]
        if name == _BFLOAT16 and order in ("<", "="):
            return np.dtype(jnp.bfloat16)
        if type(name) is str and name[:1] in ("i", "u", "b") and name[1:] in ("1", "2", "4", "8"):
            raise UserError(f"{self.source}: parameter {printable(what)} is of type {name}: {WHOLE_NUMBERS}")
        if type(name) is not str or name not in _FLOATS or order not in ("<", ">", "=", "|"):
            raise _Damaged
        return np.dtype(f"{order.replace('|', '=')}{name}")

    def _content(self, record: Any) -> bytes | bytearray:
        content = self._named(record)
        self.budget -= len(content)
        if self.budget < 0:
            raise UserError(f"{self.source} names the same bytes again and again: it is no checkpoint.")
        return content if isinstance(content, bytes | bytearray) else content.encode("latin1")

    def _named(self, record: Any) -> bytes | bytearray | str:
        """Returns the bytes that a record names, or text with a letter for each."""
        if isinstance(record, bytes | bytearray | str):  # text: of Python 2
            return record
        if isinstance(record, _Call) and record.function == _ENCODE:
            text, encoding = record.args
            if type(text) is str and encoding in ("latin1", "latin-1"):
                return text
        if isinstance(record, _Call) and record.function == _BYTES and not record.args:
            return b""
        raise _Damaged

    @staticmethod
    def _size(size: Any) -> int:
        if type(size) is not int or not 0 <= size < 2**40:
            raise _Damaged
        return size
