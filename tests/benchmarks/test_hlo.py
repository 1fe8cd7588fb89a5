"""A program's operations and bytes are those of what it computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from benchmarks.hlo import Work, entry, parse, work

PROGRAM = """HloModule jit_step

%fused_computation (p.1: f32[64,32]) -> f32[8,32] {
  %p.1 = f32[64,32]{1,0} parameter(0)
  %bitcast.1 = f32[64,32]{1,0} bitcast(%p.1)
  %slice.1 = f32[8,32]{1,0} slice(%bitcast.1), slice={[0:8], [0:32]}
  ROOT %add.1 = f32[8,32]{1,0} add(%slice.1, %slice.1)
}

%ynn_fusion (p.2: bf16[8,32], p.3: bf16[32,2]) -> f32[8,2] {
  %p.2 = bf16[8,32]{1,0} parameter(0)
  %p.3 = bf16[32,2]{1,0} parameter(1)
  ROOT %dot.1 = f32[8,2]{1,0} dot(%p.2, %p.3), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

ENTRY %main (a: f32[64,32], b: bf16[8,32], c: bf16[32,2]) -> (f32[8,32], f32[8,2], pred[3]) {
  %a = f32[64,32]{1,0} parameter(0)
  %b = bf16[8,32]{1,0} parameter(1)
  %c = bf16[32,2]{1,0} parameter(2)
  %fusion.1 = f32[8,32]{1,0} fusion(%a), kind=kLoop, calls=%fused_computation
  %fusion.2 = f32[8,2]{1,0} fusion(%b, /*index=1*/%c), kind=kCustom, calls=%ynn_fusion
  %slice.2 = f32[1,32]{1,0} slice(%a), slice={[0:1], [0:32]}
  %compare.1 = pred[8,2]{1,0} compare(%fusion.2, %fusion.2), direction=LT
  %call.1 = f32[8,2]{1,0} call(%b, %c), to_apply=%ynn_fusion
  ROOT %tuple = (f32[8,32]{1,0}, f32[8,2]{1,0}) tuple(%fusion.1, %fusion.2)
}
"""


def test_of_what_is_cut_the_slice_counts_and_every_operand_once() -> None:
    assert entry(PROGRAM) == "main"
    assert [one.name for one in parse(PROGRAM)["ynn_fusion"]] == ["p.2", "p.3", "dot.1"]
    assert work(PROGRAM) == {
        "fusion.1": Work(0, 2 * 4 * 8 * 32),
        "fusion.2": Work(2 * 8 * 32 * 2, 2 * 8 * 32 + 2 * 32 * 2 + 4 * 8 * 2),
        "slice.2": Work(0, 2 * 4 * 32),
        "compare.1": Work(0, 4 * 8 * 2 + 8 * 2),
    }


@pytest.mark.parametrize(
    ("stride", "pads", "spread", "reach"), [(1, (1, 1), 1, 1), (2, (0, 1), 1, 1), (1, (2, 1), 2, 1), (1, (3, 0), 1, 2)]
)
@pytest.mark.parametrize("groups", [1, 2])
def test_a_convolution_has_the_operations_that_meet_a_pixel(
    stride: int, pads: tuple[int, int], spread: int, reach: int, groups: int
) -> None:
    def convolve(x: jax.Array, w: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(
            x,
            w,
            (stride, stride),
            (pads, pads),
            (spread, spread),
            (reach, reach),
            ("NHWC", "HWIO", "NHWC"),
            groups,
        )

    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((2, 8, 7, 4), (3, 3, 4 // groups, 6))]
    program = jax.jit(convolve).lower(*shapes).compiler_ir("hlo").as_hlo_module().to_string()
    # Products of ones count themselves.
    products = convolve(jnp.ones(shapes[0].shape), jnp.ones(shapes[1].shape))
    assert sum(one.flops for one in work(program).values()) == 2 * int(np.sum(products))


def test_a_compiled_product_has_the_operations_and_bytes_of_its_arrays() -> None:
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((48, 64), (64, 32))]
    program = jax.jit(jnp.matmul).lower(*arguments).compile().as_text()
    assert program
    (found,) = work(program).values()
    assert found == Work(2 * 48 * 64 * 32, 4 * (48 * 64 + 64 * 32 + 48 * 32))
