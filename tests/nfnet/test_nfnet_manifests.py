"""Names, shapes and plans of every variant against the released code, from abstract shapes."""

import jax
import jax.numpy as jnp
import pytest
from support import golden
from support.networks import MICRO

from nfnet import VARIANTS, NFNet
from nfnet.cost.counter import parameter_shapes
from nfnet.models.nfnet import find_variant

COUNTS = golden.read_json("manifests/counts.json")
BLOCKS = golden.read_json("block_tables.json")
NETWORKS = {**golden.NETWORKS, "micro": (MICRO, "published", "micro.json")}


def test_variants_are_f0_to_f7_and_their_plus_versions():
    assert list(VARIANTS) == [f"F{n}{plus}" for plus in ("", "+") for n in range(8)]


# They differ from F1, F3 and F7+ in nothing but depth and widths; their blocks are checked below.
SLOW = (*(f"F{n}{suffix}" for n in (2, 4, 5, 6) for suffix in ("", "+", "+paper")), "F7", "F7+paper")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in NETWORKS])
def test_parameters_are_those_of_the_released_code(name):
    variant, reading, manifest = NETWORKS[name]
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    # Without drawing, which takes several times as long to trace.
    params = parameter_shapes(lambda x: NFNet(COUNTS[name]["classes"], variant, plus_width=reading)(x, False), images)
    shapes = {key: value.shape for key, value in golden.flatten(params).items()}
    assert shapes == golden.read_manifest(manifest)
    assert len(params) == COUNTS[name]["modules"]
    assert len(shapes) == COUNTS[name]["arrays"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == COUNTS[name]["params"]


@pytest.mark.parametrize("name", NETWORKS)
def test_blocks_are_those_of_the_released_code(name):
    variant, reading, _ = NETWORKS[name]
    config = find_variant(variant, reading)
    table = BLOCKS[name]
    assert list(config.widths) == table["width"]
    assert list(config.depths) == table["depth"]
    assert list(config.stem_channels) == table["stem"]
    assert config.features == table["final_conv"]
    assert config.dropout_rate == table["drop_rate"]
    if name != "micro":
        assert (config.train_resolution, config.test_resolution) == (
            table["train_imsize"],
            table["test_imsize"],
        )
    blocks = config.blocks()
    assert [b.in_channels for b in blocks] == table["in_ch"]
    assert [b.out_channels for b in blocks] == table["out_ch"]
    assert [b.bottleneck for b in blocks] == table["bottleneck"]
    assert [b.groups for b in blocks] == table["groups"]
    assert [b.stride for b in blocks] == table["stride"]
    assert [b.has_projection for b in blocks] == table["projection"]
    assert [b.se_hidden for b in blocks] == table["se_hidden"]
    assert [b.beta for b in blocks] == pytest.approx(table["beta"], rel=1e-14)
    rates = [config.stochastic_depth_rate * i / len(blocks) for i in range(len(blocks))]
    assert rates == pytest.approx(table["stochdepth_rate_at_0p25"], abs=1e-15)
