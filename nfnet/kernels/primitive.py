"""Primitives whose programs differ on CPUs, and what JAX has to know of them."""

from collections.abc import Callable
from typing import Any

import jax
from jax import Array
from jax.ad_checkpoint import Recompute
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir, partial_eval


def primitive(
    name: str,
    function: Callable[..., Any],
    *,
    shape: Callable[..., Any],
    batched: Callable[..., Any],
    on_cpu: Callable[..., Any] | None = None,
    jvp: Callable[..., Any] | None = None,
    transpose: Callable[..., Any] | None = None,
    several: bool = False,
) -> Primitive:
    """Makes a primitive of a function.

    Args:
        name: Its name in programs.
        function: What it computes, on all platforms but CPUs.
        shape: Returns what describes the result, from what describes the operands and the parameters.
        batched: Rule of `jax.vmap`.
        on_cpu: What CPUs compute; by default the same.
        jvp: Rule of derivatives.
        transpose: Rule of transposition.
        several: Whether the result is a list of arrays.
    """
    made = Primitive(name)
    made.multiple_results = several
    made.def_impl(on_cpu or function)  # bound only where JAX computes on CPUs
    made.def_abstract_eval(shape)
    mlir.register_lowering(made, mlir.lower_fun(function, multiple_results=several))
    if on_cpu:
        mlir.register_lowering(made, mlir.lower_fun(on_cpu, multiple_results=several), platform="cpu")
    batching.primitive_batchers[made] = batched
    if jvp:
        ad.primitive_jvps[made] = jvp
    if transpose:
        ad.primitive_transposes[made] = transpose
    return made


def bilinear(
    name: str,
    function: Callable[..., Array],
    *,
    shape: Callable[..., tuple[int, ...]],
    left: Callable[..., Array],
    right: Callable[..., Array],
    on_cpu: Callable[..., Array] | None = None,
) -> Primitive:
    """Makes a primitive of a bilinear function, a heavy one: policies of `jax.checkpoint` judge it by its plain form.

    Args:
        name: Its name in programs.
        function: Of two arrays, and of parameters by name.
        shape: Returns the result's shape, from what describes the arrays, and the parameters.
        left: The transpose in the first array.
        right: The transpose in the second array.
        on_cpu: What CPUs compute; by default the same.
    """

    def described(x: Any, w: Any, **parameters: Any) -> Any:
        return x.update(shape=shape(x, w, **parameters))

    def batched(operands: Any, axes: Any, **parameters: Any) -> tuple[Array, int]:
        def chosen(x: Array, w: Array) -> Array:
            forms = {"cpu": lambda x, w: (on_cpu or function)(x, w, **parameters)}
            y: Array = jax.lax.platform_dependent(x, w, **forms, default=lambda x, w: function(x, w, **parameters))
            return y

        return jax.vmap(chosen, axes)(*operands), 0

    made = primitive(name, function, shape=described, batched=batched, on_cpu=on_cpu)
    ad.defbilinear(made, left, right)
    partial_eval.partial_eval_jaxpr_custom_rules[made] = _judged_by(function)
    return made


def _judged_by(function: Callable[..., Array]) -> Callable[..., Any]:
    """Returns the rule by which `jax.checkpoint` keeps a result, or computes it again, as it would the plain form's."""

    def rule(policy: Callable[..., Any], unknown: Any, computed: Any, equation: Any) -> Any:
        inputs = [x for x, known in zip(equation.invars, computed, strict=True) if not known]
        if any(unknown):
            return None, equation, [True], [True], inputs
        avals = [x.aval for x in equation.invars]
        program = jax.make_jaxpr(lambda x, w: function(x, w, **equation.params))(*avals)
        verdicts = (policy(one.primitive, *(x.aval for x in one.invars), **one.params) for one in program.eqns)
        if any(verdict is not False and verdict is not Recompute for verdict in verdicts):
            return equation, None, [False], [False], []
        return equation, equation, [False], [True], inputs

    return rule
