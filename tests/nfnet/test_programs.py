"""What the networks' programs ask of GPUs and TPUs, read without one, and what several devices exchange."""

import json
import subprocess
import sys
from collections import Counter

import jax
import jax.numpy as jnp
import pytest
from support import programs
from support.networks import MICRO, TINY
from support.programs import Operation, operations
from support.tiny_runs import ROOT, environment

from nfnet import NFNetConfig
from nfnet.cost.cost import largest_batch, network_cost, training_bytes
from nfnet.models.nfnet import find_variant
from nfnet.training.step import compiler_options

BATCH = 6  # no other axis of these networks has this length
NETWORKS = [
    pytest.param(TINY, 16, id="tiny"),
    pytest.param(MICRO, 32, id="micro", marks=pytest.mark.slow),
    pytest.param("F0", 64, id="F0", marks=pytest.mark.slow),
]
TYPES = [pytest.param(jnp.float32, id="float32"), pytest.param(jnp.bfloat16, id="bfloat16")]
PLATFORMS = ("cuda", "tpu")
MLIR = {jnp.float32: "f32", jnp.bfloat16: "bf16"}


def layers(variant) -> tuple[int, int, int]:
    """The numbers of convolutions, of blocks, and of convolutions in groups."""
    config = find_variant(variant)
    blocks = config.blocks()
    convolutions = len(config.stem_channels) + 1 + sum(4 + block.has_projection for block in blocks)
    return convolutions, len(blocks), sum(2 * (block.groups > 1) for block in blocks)


def named(found: list[Operation], name: str) -> list[Operation]:
    return [one for one in found if one.name == name]


def casts(found: list[Operation]) -> Counter:
    """Casts of filters and activations between types of numbers."""
    kinds = [(one.reads[0][0], one.yields[0][0]) for one in named(found, "convert") if len(one.reads[0][1]) == 4]
    return Counter(kind for kind in kinds if set(kind) <= {"f32", "bf16", "f16"})


def assert_plain(found: list[Operation], variant, dtype) -> None:
    """Plain convolutions and products of the right types, sums in float32, nothing for CPUs, nothing transposed."""
    convolutions = named(found, "convolution")
    assert {kind for one in convolutions for kind, _ in (*one.reads, *one.yields)} == {MLIR[dtype]}
    assert {kind for one in named(found, "dot_general") for kind, _ in (*one.reads, *one.yields)} == {"f32"}
    assert "bf16" not in {kind for one in named(found, "reduce") for kind, _ in one.reads}
    assert not {"case", "custom_call", "optimization_barrier", "while"} & {one.name for one in found}
    # A batch cut into one part moves an axis of length one; no activation between layers changes its layout.
    assert all(one.reads[0][1][:2] == (BATCH, 1) for one in named(found, "transpose") if one.reads[0][1][0] == BATCH)
    # Each layer's filters are standardized once, by one reciprocal square root for all of them.
    assert len(named(found, "rsqrt")) == layers(variant)[0]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("variant", "side"), NETWORKS)
def test_forward_pass_of_accelerators(variant, side: int, dtype) -> None:
    traced = programs.inference(variant, dtype, side=side, batch=BATCH)
    convolutions, blocks, grouped = layers(variant)
    for platform in PLATFORMS:
        found = operations(traced, platform)
        assert_plain(found, variant, dtype)
        groups = [int(one.attributes["feature_group_count"].split()[0]) for one in named(found, "convolution")]
        assert len(groups) == convolutions
        assert sum(number > 1 for number in groups) == grouped
        assert len(named(found, "dot_general")) == 2 * blocks + 1  # squeeze-excite and the classifier
        assert not named(found, "transpose")
        if dtype == jnp.float32:
            assert not casts(found)
        else:
            # To bfloat16: images, filters, each layer's result with its bias, each branch with its gates. Back: each
            # result for its bias, each branch for its mean and its gates, and the last features for theirs.
            assert casts(found) == {
                ("f32", "bf16"): 1 + 2 * convolutions + blocks,
                ("bf16", "f32"): convolutions + 2 * blocks + 1,
            }


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("variant", "side"), NETWORKS)
def test_training_step_of_accelerators(variant, side: int, dtype) -> None:
    traced = programs.training(variant, dtype, side=side, batch=BATCH)
    convolutions, blocks, grouped = layers(variant)
    for platform in PLATFORMS:
        found = operations(traced, platform)
        assert_plain(found, variant, dtype)
        # Values, gradients of filters, and of images but for the first layer's; the same for products.
        assert len(named(found, "convolution")) == 3 * convolutions - 1
        assert len(named(found, "dot_general")) == 3 * (2 * blocks + 1)
        of_groups = [one.attributes for one in named(found, "convolution")]
        assert sum(not one["batch_group_count"].startswith("1 ") for one in of_groups) == grouped
        assert sum(not one["feature_group_count"].startswith("1 ") for one in of_groups) == 2 * grouped
        if dtype == jnp.float32:
            assert not casts(found)
        else:
            # As in the forward pass, and back: of each the cotangent, and of each filter the gradient.
            assert casts(found) == {
                ("f32", "bf16"): 2 + 3 * convolutions + 3 * blocks,
                ("bf16", "f32"): 1 + 3 * convolutions + 3 * blocks,
            }


def test_training_step_donates_its_state() -> None:
    lowered = programs.training(TINY, jnp.bfloat16, side=16, batch=BATCH).lower(lowering_platforms=("cuda",))
    donated = [one.donated for one in jax.tree.leaves(lowered.args_info[0][0])]
    assert all(donated)
    text = lowered.as_text()
    assert text.count("tf.aliasing_output") + text.count("jax.buffer_donor") == len(donated)


def test_gpus_are_told_to_cast_where_the_program_does() -> None:
    assert compiler_options("gpu") == {"xla_allow_excess_precision": False}
    assert compiler_options("cpu") == compiler_options("tpu") == {}
    # An option that this XLA did not know would be an error.
    jax.jit(lambda x: x + 1, compiler_options=compiler_options("gpu")).lower(jnp.ones(2)).compile()


# One block, some of whose arrays are large enough to be sharded.
SHARDED = NFNetConfig(
    widths=(128,), depths=(1,), strides=(1,), group_width=64, stem_widths=(8,), stem_strides=(2, 1), final_ratio=1
)


def exchanged(fsdp: int, tmp_path) -> list[tuple[str, int]]:
    """The exchanges of a compiled training step on eight devices, each with its number of arrays."""
    code = (
        "import json, sys\n"
        "import jax.numpy as jnp\n"
        "from benchmarks.hlo import parse\n"
        "from support import programs\n"
        "from nfnet import NFNetConfig\n"
        f"variant = {SHARDED!r}\n"
        f"traced = programs.training(variant, jnp.float32, side=16, batch=16, fsdp={fsdp})\n"
        "program = traced.lower().compile({'xla_backend_optimization_level': 0}).as_text()\n"
        "kinds = ('all-', 'reduce-scatter', 'collective')\n"
        "print(json.dumps([(one.operation, len(one.operands)) for body in parse(program).values() for one in body\n"
        "                  if one.operation.startswith(kinds)]))\n"
    )
    env = environment(tmp_path, devices=8)
    env["PYTHONPATH"] = f"{ROOT}:{ROOT / 'tests'}"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    return [(operation, arrays) for operation, arrays in json.loads(done.stdout.splitlines()[-1])]


@pytest.mark.parametrize("fsdp", [1, 8])
@pytest.mark.slow
def test_devices_exchange_gradients_once(fsdp: int, tmp_path) -> None:
    params = programs.parameters(SHARDED, side=16)
    sizes = [leaf.size for leaf in jax.tree.leaves(params)]
    sharded = sum(size >= 2**14 for size in sizes) if fsdp > 1 else 0
    assert sharded or fsdp == 1
    found = exchanged(fsdp, tmp_path)
    kinds = Counter(operation for operation, _ in found)
    reduced = [arrays for operation, arrays in found if operation == "all-reduce"]
    if fsdp == 1:
        # The images' weights, before the loss, and the count of those unreadable; then everything else at once.
        assert kinds == {"all-reduce": 3}
        assert sorted(reduced)[:2] == [1, 1]
    else:
        assert kinds.keys() == {"all-reduce", "all-gather"}
        assert kinds["all-gather"] == sharded
    # Each array once, beside five numbers; shards of filters have norms of their own, for clipping and the step's.
    assert sum(reduced) <= len(sizes) + 5 + 3 * sharded


def test_memory_of_a_training_step() -> None:
    cost = network_cost("F0", 224)
    assert training_bytes(cost, 2) - training_bytes(cost, 1) == 2 * cost.activation_bytes
    assert training_bytes(cost, 1, remat=True) < training_bytes(cost, 1)
    for memory in (80e9, 140e9):
        batch = largest_batch(cost, memory)
        assert training_bytes(cost, batch) <= memory < training_bytes(cost, batch + 1)
    assert largest_batch(cost, 1e6) == 0


def test_memory_is_what_was_measured() -> None:
    measured = [
        one
        for path in (ROOT / "benchmarks" / "results").glob("gpu_*.json")
        for one in json.loads(path.read_text())["results"]
        if one["implementation"] == "ours" and one["mode"] == "train"
    ]
    assert measured
    for one in measured:
        cost = network_cost(one["network"], one["resolution"])
        expected = training_bytes(cost, one["batch"])
        assert abs(expected / one["peak_device_bytes"] - 1) < 0.1, one["network"]


@pytest.mark.slow
@pytest.mark.parametrize("remat", [False, True])
def test_memory_on_cpus_grows_with_what_blocks_keep(remat: bool) -> None:
    # What is needed for a while beside it is the same however deep a network is, so that the growth tells.
    grown = []
    for depth in (3, 6):
        config = NFNetConfig(
            widths=(64,), depths=(depth,), strides=(1,), group_width=16, stem_widths=(16,), stem_strides=(2, 1)
        )
        traced = programs.training(config, jnp.float32, side=64, batch=16, remat=remat)
        options = {"xla_disable_hlo_passes": "cse_barrier_expander"} if remat else {}
        analysis = traced.lower().compile(options).memory_analysis()
        (stage,) = [one for one in network_cost(config, 64, num_classes=programs.CLASSES).stages if one.blocks]
        kept = stage.carried if remat else stage.carried + stage.activations
        grown.append((analysis.temp_size_in_bytes, 4 * 16 * kept))
    (first, expected_first), (second, expected_second) = grown
    assert second - first == pytest.approx(expected_second - expected_first, rel=0.05)
