"""Counted parameters and FLOPs of Vision Transformers against the tables of their papers."""

import csv
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.vits import HEADS, TINY, abstract_vit_parameters, vit_network

from nfnet import VIT_VARIANTS, UserError
from nfnet.cost.cost import network_cost
from nfnet.cost.counter import count, count_parameters
from nfnet.describe import main as describe

DATA = Path(__file__).resolve().parents[2] / "paper" / "data"


def read_csv(name):
    with (DATA / name).open(newline="") as file:
        return {tuple(list(row.values())[:3]): row for row in csv.DictReader(file)}


# {variant: row} of Zhai et al. 2022, Table 2.
TABLE_2 = {row["model"].removeprefix("ViT-"): row for row in read_csv("zhai2022_models.csv").values()}
SIDES = (224, 384)
SMALL = ("s/28", "s/16", "S/32")  # which XLA lowers quickly
# (variant, printed side): head, of Alabdulmohsin et al. 2023, Table 1. Its row of L/16 repeats Zhai et al.
TABLE_1 = {
    ("SoViT-400m/14", 224): "map",
    ("SoViT-400m/14", 384): "map",
    ("SoViT-400m/14", 518): "map",
    ("ViT-L/16", 384): "gap",
    ("ViT-g/14", 518): "map",
    ("ViT-G/14", 518): "map",
}


def backbone_parameters(cost):
    return cost.parameters - cost.stages[-1].parameters


def whole_patches(variant, side):
    """Returns what is left of an image when incomplete patches at its border are dropped."""
    patch = VIT_VARIANTS[variant].patch
    return side // patch * patch


def excess(value, printed, digit):
    """Returns by what share a value misses all numbers that round to the printed one."""
    return max(0.0, abs(value - printed) - digit / 2) / printed


def xla_flops(variant, side, head):
    """Returns XLA's count for one image without a classifier, elementwise operations included."""
    net = vit_network(1, variant, head=head)
    params = abstract_vit_parameters(net, side)
    images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    features = jax.jit(lambda params, images: net.apply(params, None, images, False)["features"])
    return features.lower(params, images).cost_analysis()["flops"]


def test_table_2_is_complete():
    assert set(VIT_VARIANTS) == {*TABLE_2, "So400m/14", "mini/8", "micro/4"}
    for name, row in TABLE_2.items():
        config = VIT_VARIANTS[name]
        printed = (row["width"], row["depth"], row["mlp"], row["heads"])
        assert (config.width, config.depth, config.mlp_width, config.num_heads) == tuple(map(int, printed))
        assert config.patch == int(name.split("/")[1])


@pytest.mark.parametrize("head", ["gap", "cls"])
@pytest.mark.parametrize("variant", TABLE_2)
def test_parameters_are_those_of_table_2_to_the_printed_digit(variant, head):
    printed = float(TABLE_2[variant]["params_m"])
    millions = backbone_parameters(network_cost(variant, whole_patches(variant, 224), head=head)) / 1e6
    assert round(millions, 1 if printed < 10 else 0) == printed


@pytest.mark.parametrize("variant", TABLE_2)
def test_parameters_of_table_2_leave_no_room_for_attention_pooling(variant):
    millions = backbone_parameters(network_cost(variant, whole_patches(variant, 224), head="map")) / 1e6
    assert excess(millions, float(TABLE_2[variant]["params_m"]), 0.1 if millions < 10 else 1) > 0.02


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("variant", TABLE_2)
def test_flops_are_those_of_table_2_within_two_percent(variant, side):
    flops = 2 * network_cost(variant, whole_patches(variant, side)).macs
    assert excess(flops / 1e9, float(TABLE_2[variant][f"gflops_{side}"]), 0.1) < 0.02


def check_xla_flops(variant, side, head, printed, digit):
    gflops = xla_flops(variant, whole_patches(variant, side), head) / 1e9
    assert excess(gflops, printed, digit) < 1e-3


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("variant", SMALL)
def test_xla_counts_the_flops_of_table_2_in_small_networks(variant, side):
    check_xla_flops(variant, side, "gap", float(TABLE_2[variant][f"gflops_{side}"]), 0.1)


@pytest.mark.slow
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("variant", sorted(set(TABLE_2) - set(SMALL)))
def test_xla_counts_the_flops_of_table_2_in_large_networks(variant, side):
    check_xla_flops(variant, side, "gap", float(TABLE_2[variant][f"gflops_{side}"]), 0.1)


def table_1_row(model, side):
    rows = read_csv("alabdulmohsin2023_table1.csv")
    (row,) = [row for key, row in rows.items() if key[0] == model and key[2] == str(side)]
    return row, {"SoViT-400m/14": "So400m/14"}.get(model, model.removeprefix("ViT-"))


@pytest.mark.parametrize(("model", "side"), TABLE_1)
def test_parameters_and_flops_are_those_of_alabdulmohsin_et_al(model, side):
    row, variant = table_1_row(model, side)
    cost = network_cost(variant, whole_patches(variant, side), head=TABLE_1[model, side])
    assert excess(2 * cost.macs / 1e9, float(row["gflops_per_image_at_resolution"]), 1) < 0.02
    # Their 1011 M for g/14 is Zhai et al.'s, without attention pooling; their 1882 M for G/14 has it.
    head = "gap" if model == "ViT-g/14" else TABLE_1[model, side]
    parameters = backbone_parameters(network_cost(variant, whole_patches(variant, side), head=head))
    assert excess(parameters / 1e6, float(row["params_m"]), 1) < 0.005


@pytest.mark.slow
@pytest.mark.parametrize(("model", "side"), TABLE_1)
def test_xla_counts_the_flops_of_alabdulmohsin_et_al(model, side):
    row, variant = table_1_row(model, side)
    check_xla_flops(variant, side, TABLE_1[model, side], float(row["gflops_per_image_at_resolution"]), 1)


@pytest.mark.parametrize("posemb", ["learned", "sincos2d"])
@pytest.mark.parametrize("head", HEADS)
def test_parts_sum_up_to_the_whole_network(head, posemb):
    net = vit_network(7, TINY, head=head, posemb=posemb)
    params = abstract_vit_parameters(net, 24)
    images = jax.ShapeDtypeStruct((1, 24, 24, 3), jnp.float32)
    work = count(lambda params, images: net.apply(params, None, images, False), params, images)
    cost = network_cost(TINY, 24, head=head, posemb=posemb, num_classes=7)
    assert (cost.parameters, cost.macs, cost.activations) == (count_parameters(params), work.macs, work.activations)
    assert sum(stage.macs for stage in cost.stages) == cost.macs


def test_rematerialization_keeps_the_blocks_inputs():
    cost = network_cost(TINY, 16, dtype=np.float32)
    encoder = cost.stages[1]
    assert encoder.carried == TINY.depth * 16 * TINY.width
    ends = sum(stage.activations for stage in cost.stages if stage is not encoder)
    assert cost.remat_bytes == 4 * (ends + encoder.carried + encoder.activations / TINY.depth)


def test_a_resolution_between_patches_is_refused():
    with pytest.raises(UserError, match=r"384 x 384 pixels.*patch of 14.*378 or 392"):
        network_cost("g/14", 384)


def test_describe_knows_vision_transformers(capsys):
    describe(["S/16", "--head", "map", "--num-classes", "10"])
    text = capsys.readouterr().out
    cost = network_cost("S/16", 224, head="map", num_classes=10)
    assert text.startswith("ViT-S/16, one image of 224 x 224 px, 10 classes, head map")
    for stage in cost.stages:
        (line,) = [line for line in text.splitlines() if line.startswith(stage.name)]
        assert f"{stage.parameters:,}" in line
        assert f"{stage.macs:,}" in line
    describe(["S/16", "--head", "map", "--num-classes", "10", "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert (printed["parameters"], printed["macs"], printed["head"]) == (cost.parameters, cost.macs, "map")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["S/17"], ("'S/17'", "nearest is 'S/16'")),
        (["S/16", "--resolution", "230"], ("230 x 230", "224 or 240")),
    ],
)
def test_describe_refuses_in_one_sentence(arguments, words, capsys):
    with pytest.raises(SystemExit) as stop:
        describe(arguments)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    for word in words:
        assert word in error
