"""Counts the work of any JAX function from its jaxpr, so that the numbers are those of the code that runs.

Nothing is computed, and no backend starts. Kernels are counted by their plain forms, whatever computes them on the
platform at hand.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
from jax import Array
from jax.extend import core
from jax.typing import DTypeLike

from nfnet.kernels import plain


@dataclasses.dataclass(frozen=True)
class Work:
    """What a function does in its convolutions and matrix products.

    Attributes:
        macs: Multiply-adds. Padding counts like pixels, as is usual.
        activations: Elements that they output, the measure of Radosavovic et al. 2020 (arXiv 2003.13678).
        parameters: Number of parameters of a network's part.
    """

    macs: int
    activations: int
    parameters: int = 0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.macs + other.macs, self.activations + other.activations, self.parameters + other.parameters)

    def __mul__(self, times: int) -> "Work":
        return Work(self.macs * times, self.activations * times, self.parameters * times)


def count(function: Callable[..., Any], *specs: Any) -> Work:
    """Counts the work of a function without running it.

    Args:
        function: A traceable function.
        *specs: Its arguments; arrays may be `jax.ShapeDtypeStruct`.

    Raises:
        NotImplementedError: If the function has a loop whose trip count is unknown before it runs.
    """
    with plain():
        return _count(jax.make_jaxpr(function)(*specs).jaxpr)


def count_parameters(params: Any) -> int:
    """Returns the number of parameters in a tree of arrays or their shapes."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def trace(function: Callable[[Array], Array], shape: tuple[int, ...]) -> tuple[Work, tuple[int, ...]]:
    """Returns what a part of a network does and the shape of its output, from an abstract trace.

    Args:
        function: Builds it and applies it, as would be given to `hk.transform`; draws no random numbers.
        shape: Shape of its input.
    """
    shapes = []

    def recorded(x: Array) -> None:
        shapes.append(function(x).shape)

    # Initialization runs the forward pass, so one trace gives parameters, work and shape.
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    with plain():
        jaxpr, params = jax.make_jaxpr(_blank_init(recorded), return_shape=True)(x)
    (out,) = shapes
    return dataclasses.replace(_count(jaxpr.jaxpr), parameters=count_parameters(params)), out


def parameter_shapes(function: Callable[[Array], Any], x: Any) -> Mapping[str, Mapping[str, jax.ShapeDtypeStruct]]:
    """Shapes and types of a network's parameters, by module and name.

    Args:
        function: Builds it and applies it, as would be given to `hk.transform`; draws no random numbers.
        x: What it is applied to; only shape and type matter.
    """
    with plain():
        return jax.eval_shape(_blank_init(function), x)


def _blank_init(function: Callable[[Array], Any]) -> Callable[[Array], hk.Params]:
    """Initialization without drawing: initializers are many operations to trace, and a generator starts a backend."""

    def blank(creator: Any, shape: Sequence[int], dtype: DTypeLike, init: Any, context: hk.GetterContext) -> Array:
        return jnp.zeros(shape, dtype)

    def initialized(x: Array) -> None:
        with hk.custom_creator(blank):
            function(x)

    return lambda x: hk.transform(initialized).init(None, x)


def _count(jaxpr: core.Jaxpr) -> Work:
    return sum((_count_equation(eqn) for eqn in jaxpr.eqns), start=Work(0, 0))


def _count_equation(eqn: core.JaxprEqn) -> Work:
    name = eqn.primitive.name
    if name in ("dot_general", "conv_general_dilated"):
        outputs = math.prod(_shape(eqn.outvars[0]))
        return Work(outputs * _terms(eqn), outputs)
    if name == "while":
        raise NotImplementedError("cannot count a while loop: its trip count is unknown before it runs.")
    inner = [_count(jaxpr) for jaxpr in _inner_jaxprs(eqn)]
    if name == "cond":
        # The alternatives are either the same work written for different platforms, the last for any
        # other platform, or a real choice, of which the costliest counts.
        per_platform = eqn.params.get("branches_platforms") is not None
        return inner[-1] if per_platform else max(inner, key=lambda work: work.macs)
    return sum(inner, start=Work(0, 0)) * (eqn.params["length"] if name == "scan" else 1)


def _terms(eqn: core.JaxprEqn) -> int:
    """Returns how many products are summed for one element of the output."""
    if eqn.primitive.name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        return math.prod(_shape(eqn.invars[0])[axis] for axis in contracted)
    filters = _shape(eqn.invars[1])
    out_axis: int = eqn.params["dimension_numbers"].rhs_spec[0]
    return math.prod(filters) // filters[out_axis]


def _shape(atom: Any) -> tuple[int, ...]:
    shape: tuple[int, ...] = atom.aval.shape
    return shape


def _inner_jaxprs(eqn: core.JaxprEqn) -> Iterator[core.Jaxpr]:
    for value in eqn.params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, core.ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, core.Jaxpr):
                yield item
