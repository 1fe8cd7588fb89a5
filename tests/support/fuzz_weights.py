"""Reads made-up and damaged files of weights; run in a process of its own, which a bad reader could crash.

Usage: python fuzz_weights.py CASES. Prints what came out, as JSON.
"""

import io
import json
import pickle
import pickletools
import resource
import sys
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from hypothesis import HealthCheck, Phase, given, settings

from nfnet import UserError
from nfnet.weights.load import read_checkpoint

LEEWAY = 200 * 2**20
PARAMS = {"NFNet/~/linear": {"w": np.ones((4, 3), np.float32), "b": np.arange(3, dtype=">f8")}}
STATE = {"head.fc.weight": np.ones((3, 4), np.float32), "head.fc.bias": np.zeros(3, np.float16)}
VIT = {"embedding/kernel": np.ones((2, 2, 3, 4), np.float32), "pos_embedding": np.ones((1, 4, 4), np.float32)}


def archive(save, arrays) -> bytes:
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


GOOD = [pickle.dumps(PARAMS, protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
GOOD += [archive(save, arrays) for save in (np.savez, np.savez_compressed) for arrays in (STATE, VIT)]
GOOD += [safetensors.numpy.save({f"module.{key}": value for key, value in STATE.items()})]
GOOD += [safetensors.numpy.save(STATE), pickle.dumps({"m": {"w": np.ones(2, jnp.bfloat16)}})]
OPCODES = [opcode.code.encode("latin1") for opcode in pickletools.opcodes]
GLOBALS = [
    b"cnumpy\nndarray\n", b"cnumpy\ndtype\n", b"cnumpy._core.multiarray\n_reconstruct\n", b"c_codecs\nencode\n",
    b"cnumpy._core.multiarray\nscalar\n", b"cnumpy._core.numeric\n_frombuffer\n", b"ccollections\nOrderedDict\n",
    b"cdill._dill\n_create_array\n", b"cdill._dill\n_get_attr\n", b"cdill._dill\n_import_module\n",
    b"cbuiltins\nbytes\n", b"cbuiltins\neval\n", b"cos\nsystem\n",
]  # fmt: skip
VALUES = [
    b"X\x02\x00\x00\x00f4",
    b"X\x01\x00\x00\x00<",
    b"X\x06\x00\x00\x00latin1",
    b"C\x04abcd",
    b"K\x03",
    b"J\xff\xff\xff\xff",
]
VALUES += [
    b"X\x01\x00\x00\x00m",
    b"q\x00",
    b"h\x00",
    b"r\xff\xff\xff\x7f",
    b"K\x00K\x00K\x00\x87",
    b"}",
    b"]",
    b"(",
    b"t",
]

programs = st.lists(
    st.sampled_from(OPCODES) | st.sampled_from(GLOBALS) | st.sampled_from(VALUES) | st.binary(max_size=6), max_size=40
).map(lambda parts: b"\x80\x04" + b"".join(parts) + b".")


@st.composite
def damaged(draw) -> bytes:
    data = bytearray(draw(st.sampled_from(GOOD)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        change = draw(st.sampled_from(["set", "cut", "insert", "swap", "repeat"]))
        if change == "set" and data:
            data[at] = draw(st.integers(0, 255))
        elif change == "cut":
            del data[at : at + draw(st.integers(1, 50))]
        elif change == "insert":
            data[at:at] = draw(st.binary(max_size=8) | st.sampled_from(VALUES + GLOBALS))
        elif change == "swap":
            other = draw(st.sampled_from(GOOD))
            data[at:] = other[at:]
        else:
            data[at:at] = data[max(0, at - 30) : at] * 3
    return bytes(data)


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(cases: int) -> dict[str, int]:
    counts = {"read": 0, "refused": 0}
    path = Path(tempfile.mkdtemp()) / "weights"
    for data in GOOD:  # what a reader needs at first is no leak
        path.write_bytes(data)
        read_checkpoint(path)
    before = peak()

    @settings(
        max_examples=cases, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(programs | damaged())
    def read(data: bytes) -> None:
        path.write_bytes(data)
        try:
            found = read_checkpoint(path, allow_non_finite=True)
        except UserError as error:
            text = str(error)
            assert text.isprintable(), text
            assert len(text) < 1000, text
            counts["refused"] += 1
        else:
            for group in found.values():
                for value in group.values():
                    assert isinstance(value, np.ndarray)
                    assert jnp.issubdtype(value.dtype, jnp.floating)
                    assert np.asarray(value, np.float64).size == value.size  # every number can be read
            counts["read"] += 1
        assert peak() - before < 4 * len(data) + LEEWAY

    read()
    return counts


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]))))
