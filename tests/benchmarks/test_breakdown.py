"""Operations are told apart by what they compute, and every one of a profile is."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks.breakdown import KINDS, best_rate, by_kind, classify, kinds, least, main, profile
from benchmarks.hlo import Work, work
from nfnet.kernels import winograd
from nfnet.kernels.conv import conv

PROGRAM = """HloModule jit_step

%fused_computation (p.1: f32[3,3,8,16]) -> f32[3,3,8,16] {
  %p.1 = f32[3,3,8,16]{3,2,1,0} parameter(0)
  ROOT %add.1 = f32[3,3,8,16]{3,2,1,0} add(%p.1, %p.1)
}

%ynn_fusion (p.2: f32[4,8], p.3: f32[8,2]) -> f32[4,2] {
  %p.2 = f32[4,8]{1,0} parameter(0)
  %p.3 = f32[8,2]{1,0} parameter(1)
  ROOT %dot.1 = f32[4,2]{1,0} dot(%p.2, %p.3), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

ENTRY %main (w: f32[3,3,8,16], a: f32[4,8], b: f32[8,2]) -> (f32[3,3,8,16], f32[4,2]) {
  %w = f32[3,3,8,16]{3,2,1,0} parameter(0)
  %a = f32[4,8]{1,0} parameter(1)
  %b = f32[8,2]{1,0} parameter(2)
  %fusion.1 = f32[3,3,8,16]{3,2,1,0} fusion(%w), kind=kLoop, calls=%fused_computation
  %fusion.2 = f32[4,2]{1,0} fusion(%a, %b), kind=kCustom, calls=%ynn_fusion
  %call.1 = (f32[4,2]{1,0}, /*index=1*/f32[4,2]{1,0}) call(%a, %b), to_apply=%ynn_fusion
  ROOT %tuple = (f32[3,3,8,16]{3,2,1,0}, f32[4,2]{1,0}) tuple(%fusion.1, %fusion.2)
}
"""


def test_fused_operations_count_as_what_they_hold():
    found = kinds(PROGRAM, frozenset({(3, 3, 8, 16)}))
    assert (found["fusion.1"], found["fusion.2"]) == ("weights", "dot")
    assert found["call.1"] == ""


def test_winograds_products_are_convolutions_and_the_rest_of_it_transforms():
    x, w = jnp.ones((2, 8, 8, 256)), jnp.ones((3, 3, 128, 256))
    program = jax.jit(lambda x, w: winograd.convolve(x, w, 2)).lower(x, w).compile().as_text()
    entry = program[program.index("ENTRY") :]
    found = [kind for name, kind in kinds(program, frozenset()).items() if f"%{name} = " in entry]
    assert found.count("convolution") == 1
    assert found.count("winograd") >= 3  # tiles, filters, results
    assert not {"dot", "transpose"} & set(found)


@pytest.mark.parametrize(
    ("operations", "shape", "kind"),
    [
        ({"convolution", "add"}, "f32[8,6,6,4]{3,2,1,0}", "convolution"),
        ({"multiply", "reduce"}, "f32[4]{0}", "reduce"),
        ({"transpose", "copy"}, "f32[4,6,6,8]{3,2,1,0}", "transpose"),
        ({"add"}, "f32[72,4]{1,0}", "weights"),
        ({"add"}, "(f32[72,4]{1,0}, f32[4]{0})", "weights"),
        ({"tanh"}, "f32[8,6,6,4]{3,2,1,0}", "activations"),
        ({"add"}, "f32[]", "weights"),
    ],
)
def test_kinds(operations, shape, kind):
    assert classify(operations, shape, frozenset({(3, 3, 8, 4), (72, 4)})) == kind


def test_a_profile_covers_every_operation():
    x, w = jnp.ones((2, 16, 16, 32)), jnp.ones((3, 3, 32, 32))

    def function(x, w):
        return jnp.sum(jnp.tanh(conv(x, w)), axis=(1, 2)) @ w[0, 0]

    compiled = jax.jit(function).lower(x, w).compile()
    program = compiled.as_text()
    kind = kinds(program, frozenset({w.shape}))
    seconds = profile(lambda: jax.block_until_ready(compiled(x, w)), steps=2)
    spent = by_kind(seconds, kind)
    assert set(spent) == set(KINDS)
    assert spent["convolution"] > 0
    assert spent["other"] == 0
    assert set(work(program)) <= set(kind)


def test_the_least_time_is_the_longer_of_products_and_bytes():
    works = {"conv.1": Work(4 * 10**8, 80), "dot.1": Work(10**8, 10**3), "add.1": Work(0, 500), "dot.2": Work(10, 0)}
    kind = {"conv.1": "convolution", "dot.1": "dot", "dot.2": "dot", "add.1": "weights", "call.1": ""}
    seconds = {"conv.1": 2.0, "dot.1": 1.0, "dot.2": 1e-9, "call.1": 5.0, "unnamed": 1.0}
    assert best_rate(seconds, works, kind) == 2e8  # too small a product is none
    assert best_rate({}, works, kind) == 0
    assert least(works, 2e8, 100) == {"conv.1": 2, "dot.1": 10, "add.1": 5, "dot.2": 5e-8}
    assert by_kind(seconds, kind)["other"] == 1
    assert sum(by_kind(seconds, kind).values()) == 4 + 1e-9


def test_an_unknown_variant_is_one_sentence_and_code_2(capsys):
    assert main(["--variant", "F9"]) == 2
    assert "F9" in capsys.readouterr().err
