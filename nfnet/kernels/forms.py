"""Which form of an operation a program gets, settled while it is traced.

The environment variable ``NFNET_KERNELS`` is "auto", or "plain" for plain forms everywhere; `plain` says the same for
a part of a program.
"""

import os
from contextlib import AbstractContextManager

import jax
from jax import Array
from jax.sharding import AxisType

from nfnet.errors import unknown_name

_FORMS = ("auto", "plain")
_chosen = os.environ.get("NFNET_KERNELS") or "auto"
if _chosen not in _FORMS:
    raise unknown_name("value of NFNET_KERNELS", _chosen, _FORMS)
_form = jax.make_user_context(_chosen)  # part of the key under which JAX keeps what it has traced


def plain() -> AbstractContextManager[None]:
    """Returns a context in which everything that is traced takes the plain forms."""
    context: AbstractContextManager[None] = _form("plain")
    return context


def only_plain() -> bool:
    """Returns whether plain forms are asked for, whatever the platform."""
    return bool(_form.value == "plain")


def for_cpu(*operands: Array) -> bool:
    """Returns whether to take the form for CPUs.

    On meshes with explicit or manual axes the plain operations are: JAX knows how these are split over devices.
    """
    if only_plain() or any(_split(operand) for operand in operands):
        return False
    return jax.default_backend() == "cpu"


def _split(operand: Array) -> bool:
    return any(kind != AxisType.Auto for kind in jax.typeof(operand).sharding.mesh.axis_types)
