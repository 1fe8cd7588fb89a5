"""Reads a compiled program: its instructions, and the operations and bytes that each takes at least."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

__all__ = ["CONTAINERS", "Instruction", "Work", "entry", "parse", "work"]

CONTAINERS = {"call", "conditional", "while"}
"""Operations that run other computations, whose instructions count by themselves."""

_COMPUTATION = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"\s*(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\(([^()]*)\)")
_CALLED = re.compile(r"calls=%?([\w.\-]+)")
_ARRAY = re.compile(r"([a-z]+\d*)[a-z0-9]*\[([\d,]*)\]")
_ALIASES = {"bitcast", "constant", "get-tuple-element", "parameter", "tuple"}  # neither read nor write
_PARTIAL = {"slice", "dynamic-slice", "gather"}  # read no more than they yield


@dataclass(frozen=True)
class Instruction:
    """One instruction of a program.

    Attributes:
        name: Its name.
        shape: What it yields, as printed.
        operation: E.g. ``fusion`` or ``dot``.
        operands: Names of the instructions that it reads.
        called: The computation that a fusion holds, or "".
        text: Its whole line.
    """

    name: str
    shape: str
    operation: str
    operands: tuple[str, ...]
    called: str
    text: str


class Work(NamedTuple):
    """What an instruction takes at least.

    Attributes:
        flops: Additions and multiplications of its matrix products and convolutions.
        bytes: Read and written; each operand once, of a sliced one the slice.
    """

    flops: int
    bytes: int


def parse(program: str) -> dict[str, list[Instruction]]:
    """Returns the instructions of each computation of an optimised HLO module's text."""
    computations: dict[str, list[Instruction]] = {}
    body: list[Instruction] = []
    for line in program.splitlines():
        if start := _COMPUTATION.match(line):
            body = computations.setdefault(start[2], [])
        elif found := _INSTRUCTION.match(line):
            name, shape, operation, operands = found.groups()
            called = _CALLED.search(line)
            names = tuple(re.findall(r"%([\w.\-]+)", operands))
            body.append(Instruction(name, shape, operation, names, called[1] if called else "", line))
    return computations


def entry(program: str) -> str:
    """Returns the name of the computation that a program starts with."""
    (name,) = (start[2] for line in program.splitlines() if (start := _COMPUTATION.match(line)) and start[1])
    return name


def work(program: str) -> dict[str, Work]:
    """Returns what each instruction takes that a program starts with; of calls and loops, nothing is known."""
    computations = parse(program)
    body = computations[entry(program)]
    shapes = {one.name: one.shape for one in body}
    return {
        one.name: Work(_flops(one, shapes, computations), _bytes(one, shapes, computations))
        for one in body
        if one.operation not in _ALIASES | CONTAINERS
    }


def _flops(one: Instruction, shapes: Mapping[str, str], computations: Mapping[str, Sequence[Instruction]]) -> int:
    if one.called:
        body = computations[one.called]
        inner = {each.name: each.shape for each in body}
        return sum(_flops(each, inner, computations) for each in body)
    if one.operation == "dot":
        left = _dimensions(shapes[one.operands[0]])
        contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", one.text)
        axes = [int(axis) for axis in contracted[1].split(",") if axis] if contracted else []
        return 2 * prod(_dimensions(one.shape)) * prod(left[axis] for axis in axes)
    if one.operation == "convolution":
        return _convolution_flops(one, shapes)
    return 0


def _convolution_flops(one: Instruction, shapes: Mapping[str, str]) -> int:
    """Operations of a convolution on what is there: neither on its padding nor on zeros between pixels."""
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", one.text)
    window = re.search(r"window=\{([^}]*)\}", one.text)
    assert labels, one.text
    assert window, one.text
    images, filters, results = (_dimensions(shapes[name]) for name in (*one.operands, one.name))
    settings = dict(part.split("=") for part in window[1].split())
    taps = 1
    for axis, size in enumerate(map(int, settings["size"].split("x"))):

        def setting(name: str, default: str, axis: int = axis) -> list[int]:
            parts = settings[name].split("x") if name in settings else []
            return [int(number) for number in (parts[axis] if parts else default).split("_")]

        (stride,), (spread,), (reach,) = (setting(name, "1") for name in ("stride", "lhs_dilate", "rhs_dilate"))
        first = -setting("pad", "0_0")[0]
        pixels, positions = images[labels[1].index(str(axis))], results[labels[3].index(str(axis))]
        seen = (first + stride * position + reach * tap for position in range(positions) for tap in range(size))
        taps *= sum(pixel % spread == 0 and 0 <= pixel // spread < pixels for pixel in seen)
    channels = filters[labels[2].index("i")]
    return 2 * taps * results[labels[3].index("b")] * results[labels[3].index("f")] * channels


def _bytes(one: Instruction, shapes: Mapping[str, str], computations: Mapping[str, Sequence[Instruction]]) -> int:
    read = 0
    for index, name in enumerate(one.operands):
        if name in one.operands[:index]:
            continue
        whole = _size(shapes[name])
        if one.called:
            read += min(whole, _read(computations[one.called], index))
        else:
            read += min(whole, _size(one.shape)) if one.operation in _PARTIAL else whole
    return read + _size(one.shape)


def _read(body: Sequence[Instruction], index: int) -> int:
    """What a fused computation reads of its parameter `index`, in bytes: all, or what it cuts out."""
    (parameter,) = (one for one in body if one.operation == "parameter" and f" parameter({index})" in one.text)
    names, total = {parameter.name}, 0
    for one in body:  # operands come first
        if not names & set(one.operands):
            continue
        if one.operation == "bitcast":
            names.add(one.name)
        elif one.operation in _PARTIAL:
            total += _size(one.shape)
        else:
            return _size(parameter.shape)
    return total


def _dimensions(shape: str) -> list[int]:
    found = _ARRAY.search(shape)
    return [int(size) for size in found[2].split(",") if size] if found else []


def _size(shape: str) -> int:
    """Bytes of an array, or of all arrays of a tuple; a predicate takes one, types of less than a byte none."""
    total = 0
    for kind, sizes in _ARRAY.findall(shape):
        bits = 8 if kind == "pred" else int(re.sub(r"\D", "", kind) or 0)
        total += bits // 8 * prod(int(size) for size in sizes.split(",") if size)
    return total
