"""Operations behind one contract: each has a plain form, and one that XLA's CPU backend computes well.

The contract: whatever form computes it, an operation has the same value (up to rounding), type and sharding, and works
under every transformation of JAX. tests/kernels/test_contract.py holds the forms together. Which one is taken is
settled while a program is traced (`nfnet.kernels.forms`): CPU forms where JAX computes on CPUs, plain ones elsewhere,
on explicit meshes, inside `jax.shard_map`, and everywhere under ``NFNET_KERNELS=plain``. Layers are written as the
papers write them and know nothing of it.

- `conv`, `product`: convolutions and matrix products.
- `deferred`: an activation that the convolution after it computes, twice rather than keep it.
- `standardize`: weight standardization.
- `gelu_tanh`: GELU, which keeps its argument alone.
- `gate`: a product with factors that are small beside the array.

This room alone has primitives and what tells XLA's CPU backend an order (`nfnet.kernels.ordering`). It imports nothing
of the package but its errors. To add an operation, write its plain form, measure (benchmarks/formulations.py), and add
a row to the test of the contract.
"""

from nfnet.kernels.activations import gelu_tanh as gelu_tanh
from nfnet.kernels.conv import Deferred as Deferred
from nfnet.kernels.conv import conv as conv
from nfnet.kernels.conv import deferred as deferred
from nfnet.kernels.conv import product as product
from nfnet.kernels.forms import plain as plain
from nfnet.kernels.gate import gate as gate
from nfnet.kernels.standardize import VarianceFloor as VarianceFloor
from nfnet.kernels.standardize import standardize as standardize
