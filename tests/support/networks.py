"""Small networks and shorthands that tests of the NFNet family share."""

from functools import partial

import haiku as hk
import jax
import jax.numpy as jnp

from nfnet import NFNet, NFNetConfig

# The golden files' micro network: every kind of block, 0.3 M parameters.
MICRO = NFNetConfig(widths=(16, 32, 96, 96), depths=(1, 2, 6, 3), group_width=8)
# The smallest network with a projection, a stride, groups and an identity block; compiles in about a second.
TINY = NFNetConfig(
    widths=(16, 32),
    depths=(1, 2),
    strides=(1, 2),
    group_width=8,
    stem_widths=(8,),
    stem_strides=(2, 1),
)

# What a test runs once is compiled quickly rather than well.
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
# What is asked about the code that users run is compiled as for them, also where tests compile quickly by default.
full_jit = partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False}
)


def network(num_classes, variant, **kwargs):
    """Returns NFNet as a pair of pure functions."""
    return hk.transform(lambda images, is_training: NFNet(num_classes, variant, **kwargs)(images, is_training))


def abstract_parameters(net, side=64, dtype=jnp.float32):
    images = jax.ShapeDtypeStruct((1, side, side, 3), dtype)
    return jax.eval_shape(lambda rng, x: net.init(rng, x, False), jax.random.key(0), images)
