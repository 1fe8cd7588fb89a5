"""Files of weights made to harm, damaged, or of other things: arrays come out, or one sentence."""

import codecs
import collections
import contextlib
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from support.tiny_runs import ROOT, environment

from nfnet import UserError
from nfnet.weights.load import merge, read_checkpoint
from nfnet.weights.origins import convert
from nfnet.weights.pickles import read_pickle

WEIGHTS = np.random.default_rng(0).normal(size=(5, 32)).astype(np.float32)


class Call:
    """Pickles to a call of a function, with an optional state."""

    def __init__(self, function, *args, state=None):
        self.value = (function, args) if state is None else (function, args, state)

    def __reduce__(self):
        return self.value


def refusal(data: bytes, tmp_path, name: str = "weights.npz") -> str:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        read_checkpoint(path)
    text = str(caught.value)
    assert text.isprintable()
    return text


def array_of(dtype, raw: bytes, shape=(1,)) -> Call:
    from numpy._core.multiarray import _reconstruct

    return Call(_reconstruct, np.ndarray, (0,), b"b", state=(1, shape, dtype, False, raw))


def parameter(value, protocol: int = 4) -> bytes:
    return pickle.dumps({"m": {"w": value}}, protocol)


def npy(array, **how) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **how)
    return file.getvalue()


def npz(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def flipped(data: bytes, at: int, length: int = 1) -> bytes:
    changed = bytearray(data)
    for index in range(at, at + length):
        changed[index] ^= 0xFF
    return bytes(changed)


OBJECT_FIELD = Call(np.dtype, "V8", False, True, state=(3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0))
GROUP = {"w": WEIGHTS}
PICKLES = {
    "a type with objects, turned to text": parameter(Call(codecs.encode, array_of(OBJECT_FIELD, b"A" * 8), "latin1")),
    "a type with objects": parameter(array_of(OBJECT_FIELD, b"A" * 8)),
    "an array without contents": parameter(Call(np.ndarray, (5,), "f4")),
    "an array over other memory": parameter(Call(np.ndarray, (5,), "f4", b"abcd", 1 << 40)),
    "more numbers than bytes": parameter(array_of(np.dtype("f4"), b"abcd", (1 << 30,))),
    "fewer numbers than bytes": parameter(array_of(np.dtype("f4"), b"abcdefgh")),
    "a negative length": parameter(array_of(np.dtype("f4"), b"abcd", (-1,))),
    "too many axes": parameter(array_of(np.dtype("f4"), b"", (0,) * 100)),
    "a product of zero and too much": parameter(array_of(np.dtype("f4"), b"", (0, 2**39, 2**39, 2**39))),
    "a memo of 2^26 places": b"\x80\x02}r" + struct.pack("<I", 2**26) + b".",
    "a memo place of 4,000 digits": b"\x80\x02}p" + b"9" * 4000 + b"\n.",
    "a state on a function": b"\x80\x04cdill._dill\n_create_array\nN}X\x0c\x00\x00\x00__defaults__Ns\x86b.",
    "two states": b"\x80\x04cnumpy\ndtype\n)R(K\x01tb(K\x01tb.",
    "a set": pickle.dumps({1.0}, 4),
    "keys that are numbers": pickle.dumps({1: {"w": WEIGHTS}}),
    "a list that holds itself": b"\x80\x04]\x94h\x00a.",
    "a dictionary that holds itself": b"\x80\x04}\x94X\x01\x00\x00\x00mh\x00s.",
    "a text longer than the file": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"ab.",
    "a million instructions": b"\x80\x04" + b"N0" * 600_000 + b"N.",
    "one list in many dictionaries": (
        b"\x80\x04("
        + b"X\x01\x00\x00\x00aN\x86" * 5000
        + b"l\x94"
        + b"ccollections\nOrderedDict\nh\x00\x85R0" * 300
        + b"."
    ),
    "the same bytes many times": pickle.dumps(
        {"m": {str(i): Call(np.ndarray, text) for i, text in enumerate([np.zeros(1)] * 3)}}, 2
    ),
    "whole numbers": parameter(np.arange(5)),
    "complex numbers": parameter(np.ones(2, complex)),
    "dates": parameter(np.zeros(2, "datetime64[s]")),
    "structured": parameter(np.zeros(2, [("a", "f4")])),
    "objects": parameter(np.array([None])),
    "texts": parameter(np.array(["a"])),
    "numbers of 128 bits": parameter(np.zeros(2, np.longdouble)),
    "a list of numbers": parameter([1.0, 2.0]),
    "a long shape of bytes": parameter(array_of(np.dtype("f4"), b"abcd", b"\xff" * 200_000)),
    "a type whose state is a dictionary": parameter(
        array_of(Call(np.dtype, "f4", False, True, state={}), b"abcd", (1,))
    ),
    "a name too long": pickle.dumps({"m" * 2000: {"w": WEIGHTS}}),
    "one group as many modules": pickle.dumps({"a": GROUP, "b": GROUP}),
    "nothing": b"",
    "no instruction": b"\xff\xfe",
}


def torch_pickle(protocol: int) -> bytes:
    """Returns what torch.save wrote before its files were archives: a magic number, a version, then pickles."""
    return b"".join(pickle.dumps(part, protocol) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))


TORCH = {
    **{f"before archives, protocol {protocol}": torch_pickle(protocol) for protocol in (0, 2, 4)},
    "an archive": npz({"archive/data.pkl": b".", "archive/data/0": b"abcd"}),
    "pickled tensors": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nq\x00.",
    "a pickled model": b"\x80\x02ctorch\nFloatStorage\nq\x00.",
}


@pytest.mark.parametrize("name", TORCH)
def test_files_of_pytorch_say_what_to_do(name: str, tmp_path) -> None:
    assert "is a file of PyTorch" in (text := refusal(TORCH[name], tmp_path))
    assert "safetensors.torch.save_file(model.state_dict()" in text


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8, np.bool_])
def test_counters_and_indices_say_what_to_do(kind, tmp_path) -> None:
    state = {"head.fc.bias": np.zeros(5, np.float32), "norm.num_batches_tracked": np.ones((), kind)}
    for data in (
        safetensors.numpy.save(state),
        pickle.dumps({"m": state}),
        npz({f"{key}.npy": npy(value) for key, value in state.items()}),
    ):
        text = refusal(data, tmp_path)
        assert "norm.num_batches_tracked is of type" in text
        assert "whole numbers are counters or indices" in text


def test_an_array_named_again_and_again_is_no_free_lunch(tmp_path) -> None:
    assert "again and again" in refusal(pickle.dumps({"m": dict.fromkeys("abcdef", WEIGHTS)}), tmp_path)


@pytest.mark.parametrize("name", PICKLES)
def test_pickles_that_harm_or_hold_something_else(name: str, tmp_path) -> None:
    refusal(PICKLES[name], tmp_path)


def test_bytes_named_again_and_again_are_not_copied(tmp_path) -> None:
    text = b"\x80\x02X" + struct.pack("<I", 4000) + b"a" * 4000 + b"q\x000"
    dtype = b"cnumpy\ndtype\n(X\x02\x00\x00\x00f4\x89\x88tR"
    encoded = b"c_codecs\nencode\n(h\x00X\x06\x00\x00\x00latin1tR"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(tR(K\x01M\xe8\x03\x85" + dtype + b"\x89" + encoded + b"tb"
    one = b"X\x01\x00\x00\x00%c" + array
    several = b"".join(one.replace(b"%c", bytes([97 + i])) for i in range(20))
    data = text + b"}(X\x01\x00\x00\x00m}(" + one.replace(b"%c", b"a") + b"uu."
    assert read_pickle(data, "good")["m"]["a"].shape == (1000,)
    data = text + b"}(X\x01\x00\x00\x00m}(" + several + b"uu."
    assert "again and again" in refusal(data, tmp_path)


def test_stand_ins_leave_nothing_behind(tmp_path) -> None:
    good = parameter(WEIGHTS)
    path = tmp_path / "good"
    path.write_bytes(good)
    for data in PICKLES.values():
        refusal(data, tmp_path)
        np.testing.assert_array_equal(read_checkpoint(path)["m"]["w"], WEIGHTS)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4", "<f8", jnp.bfloat16])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("order", ["C", "F"])
def test_floating_types_of_every_protocol(dtype, protocol: int, order: str, tmp_path) -> None:
    values = {
        "C": WEIGHTS[:2, :3].astype(dtype, order=order),
        "empty": np.zeros((0, 2), dtype),
        "scalar": np.ones((), dtype),
    }
    path = tmp_path / "weights"
    path.write_bytes(pickle.dumps(collections.OrderedDict(m=collections.OrderedDict(values)), protocol))
    found = read_checkpoint(path)["m"]
    for name, value in values.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)
        np.testing.assert_array_equal(found[name], value)


HEADER = npy(WEIGHTS)
ARCHIVES = {
    "compressed bytes damaged": (flipped(npz({"head.fc.weight.npy": HEADER}), 70, 40), "truncated"),
    "whole numbers": (npz({"head.fc.bias.npy": npy(np.arange(5))}), "<i8"),
    "complex numbers": (npz({"a.npy": npy(np.ones(2, complex))}), "<c16"),
    "dates": (npz({"a.npy": npy(np.zeros(2, "datetime64[s]"))}), "<M8"),
    "structured": (npz({"a.npy": npy(np.zeros(2, [("a", "f4")]))}), "structured"),
    "objects": (npz({"a.npy": npy(np.array([None]), allow_pickle=True)}), "|O"),
    "a shape too large": (npz({"a.npy": HEADER.replace(b"(5, 32), }      ", b"(5, 3200000000)}")}), "bytes"),
    "a negative shape": (npz({"a.npy": HEADER.replace(b"(5, 32)", b"(-5,32)")}), "header"),
    "a deep header": (npz({"a.npy": HEADER.replace(b"(5, 32)", b"((((((5")}), "header"),
    "many sizes": (npz({"a.npy": HEADER[:8] + b"\xff\x20" + b"{'shape': (" + b"1, " * 3000}), "header"),
    "another method": (npz({"a.npy": HEADER}, zipfile.ZIP_LZMA), "method"),
    "a bomb": (lambda: npz({"a.npy": npy(np.zeros(2**26, np.float32))}), "would unpack"),
    "no array": (npz({"a.txt": b"text"}), "a.txt"),
    "a file of PyTorch": (npz({"archive/data.pkl": b"."}), "PyTorch"),
    "a header alone": (npz({"a.npy": HEADER[:40]}), "header"),
    "a foreign version": (npz({"a.npy": b"\x93NUMPY\x09" + HEADER[7:]}), "format"),
    "half the array": (npz({"a.npy": HEADER[:300]}), "bytes"),
    "control characters": (npz({"\x1b[31mred\n.txt": b""}), r"\x1b[31mred\n"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives(name: str, tmp_path) -> None:
    data, words = ARCHIVES[name]
    assert words in refusal(data() if callable(data) else data, tmp_path)


def test_encrypted_and_doubled_members(tmp_path) -> None:
    data = npz({"a.npy": HEADER}, zipfile.ZIP_STORED)
    encrypted = bytearray(data)
    encrypted[6] |= 1
    encrypted[data.rindex(b"PK\x01\x02") + 8] |= 1
    assert "encrypted" in refusal(bytes(encrypted), tmp_path)
    doubled = npz({"a.npy": HEADER, "b.npy": HEADER}).replace(b"b.npy", b"a.npy")
    assert "twice" in refusal(doubled, tmp_path)


def tensors(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


FOUR = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
SAFETENSORS = {
    "deep": tensors(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"),
    "outside": tensors({"a": {**FOUR, "data_offsets": [0, 400]}}, b"abcd"),
    "overlapping": tensors({"a": FOUR, "b": FOUR}, b"abcd"),
    "more than needed": tensors({"a": FOUR}, b"abcdefgh"),
    "a shape too large": tensors({"a": {**FOUR, "shape": [2**62, 4]}}, b"abcd"),
    "a header too long": struct.pack("<Q", 2**62) + b"{",
    "whole numbers": tensors({"a": {**FOUR, "dtype": "I32"}}, b"abcd"),
    "an unknown type": tensors({"a": {**FOUR, "dtype": "X"}}, b"abcd"),
    "too many axes": tensors({"a": {**FOUR, "shape": [1] * 100}}, b"abcd"),
    "a list": tensors([]),
    "no text": struct.pack("<Q", 4) + b"{\xff\xfe}",
}


@pytest.mark.parametrize("name", SAFETENSORS)
def test_safetensors(name: str, tmp_path) -> None:
    refusal(SAFETENSORS[name], tmp_path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_told(bad: float, tmp_path) -> None:
    weights = WEIGHTS.copy()
    weights[1, 2] = bad
    state = {"head.fc.weight": weights, "head.fc.bias": np.zeros(5, np.float32)}
    for data in (
        safetensors.numpy.save(state),
        parameter(weights),
        npz({k + ".npy": npy(v) for k, v in state.items()}),
    ):
        assert "not finite" in refusal(data, tmp_path)
        assert read_checkpoint(tmp_path / "weights.npz", allow_non_finite=True)
    assert "not finite" in refusal(parameter(np.array([1e300])), tmp_path)  # as float32


VIT = {
    "patch_embed.proj.weight": np.zeros((8, 3, 4, 4), np.float32),
    "pos_embed": np.zeros((1, 4, 8), np.float32),
    "cls_token": np.zeros((1, 1, 8), np.float32),
    "blocks.0.attn.qkv.weight": np.zeros((24, 8), np.float32),
}
BIG_VISION = {
    "embedding/kernel": np.zeros((4, 4, 3, 8), np.float32),
    "pos_embedding": np.zeros((1, 4, 8), np.float32),
    "cls": np.zeros((1, 1, 8), np.float32),
    **{
        f"Transformer/encoderblock_0/MultiHeadDotProductAttention_0/{name}/kernel": np.zeros((8, 2, 4), np.float32)
        for name in ("query", "key", "value")
    },
}


@pytest.mark.parametrize("state", [VIT, BIG_VISION], ids=["timm", "big_vision"])
@pytest.mark.parametrize("shape", [(), (8,), (2, 3), (1, 2, 3), (1, 2, 3, 4, 5)])
def test_odd_shapes_of_vision_transformers(state, shape) -> None:
    convert(state)
    for key in state:
        with contextlib.suppress(UserError):
            found = convert({**state, key: np.zeros(shape, np.float32)}, "weights")[0]
            assert all(isinstance(value, np.ndarray) for group in found.values() for value in group.values())


@pytest.mark.parametrize("shape", [(2, 64, 4), (0, 64, 4), (1, 0, 4), (1, 2**40, 0), (64, 4), (1, 64, 5)])
@pytest.mark.parametrize("with_class", [False, True])
def test_positions_of_odd_shapes_are_refused(shape, with_class: bool) -> None:
    token = {"cls_token": np.zeros((1, 1, 4))} if with_class else {}
    initial = {"ViT": {"position_embedding": np.zeros((1, 16 + with_class, 4)), **token}}
    found = {"ViT": {"position_embedding": np.broadcast_to(np.float32(0), shape), **token}}
    with pytest.raises(UserError, match="ViT/position_embedding has shape"):
        merge(found, initial, "found")


def test_a_header_that_says_its_shape_twice(tmp_path) -> None:
    header = HEADER[10 : 10 + int.from_bytes(HEADER[8:10], "little")]
    doubled = header.replace(b"(5, 32), }", b"(5, 32), 'y': \"'shape': (1,)\"}").rstrip() + b"\n"
    data = HEADER[:8] + len(doubled).to_bytes(2, "little") + doubled + HEADER[10 + len(header) :]
    assert "header" in refusal(npz({"a.npy": data}), tmp_path)


def test_names_that_mean_the_same_are_refused() -> None:
    with pytest.raises(UserError, match="twice"):
        convert({**BIG_VISION, "Transformer/posembed_input/pos_embedding": np.zeros((1, 4, 8), np.float32)})
    twin = "Transformer/encoderblock_0/MultiHeadDotProductAttention_1/query/kernel"
    with pytest.raises(UserError, match="twice"):
        convert({**BIG_VISION, twin: np.zeros((8, 2, 4), np.float32)})
    with pytest.raises(UserError, match="no parameter"):
        convert({"stages.0.00.conv1.weight": np.zeros((2, 2, 1, 1), np.float32)})


def test_paths_that_are_no_files(tmp_path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "folder").mkdir()
    for path in ("loop", "folder", "nowhere", "a\0b", "n" * 5000):
        with pytest.raises(UserError):
            read_checkpoint(tmp_path / path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")  # nobody writes to it
        with pytest.raises(UserError, match="no file"):
            read_checkpoint(tmp_path / "pipe")


def fuzz(cases: int, tmp_path) -> dict[str, int]:
    script = ROOT / "tests" / "support" / "fuzz_weights.py"
    run = subprocess.run(
        [sys.executable, str(script), str(cases)],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    found: dict[str, int] = json.loads(run.stdout.splitlines()[-1])
    return found


def test_made_up_and_damaged_files(tmp_path) -> None:
    found = fuzz(300, tmp_path)
    assert found["read"] > 0
    assert found["refused"] > 100


@pytest.mark.slow
def test_ten_thousand_made_up_and_damaged_files(tmp_path) -> None:
    found = fuzz(10_000, tmp_path)
    assert sum(found.values()) >= 10_000
    assert found["read"] > 100
