"""Which parameters an optimiser clips and decays."""

from collections.abc import Callable, Mapping

import haiku as hk

from nfnet.models.families import classifiers

Mask = Mapping[str, Mapping[str, bool]]


def is_clipped(params: hk.Params) -> Mask:
    """Marks what adaptive gradient clipping applies to: everything but the weight of the classifier."""
    return _mark(params, lambda name, of_head: not (of_head and name == "w"))


def is_decayed(params: hk.Params) -> Mask:
    """Marks what weight decay applies to: all weights, but no gains, biases, norms, tokens or positions."""
    return _mark(params, lambda name, of_head: name == "w")


def is_weight(params: hk.Params, *, of_head: bool) -> Mask:
    """Marks the weight of the classifier, or all other weights."""
    return _mark(params, lambda name, in_head: name == "w" and in_head == of_head)


def is_head(params: hk.Params) -> Mask:
    """Marks the classifier, its bias included."""
    return _mark(params, lambda name, of_head: of_head)


def is_body(params: hk.Params) -> Mask:
    """Marks all but the classifier."""
    return _mark(params, lambda name, of_head: not of_head)


def _mark(params: hk.Params, rule: Callable[[str, bool], bool]) -> Mask:
    heads = classifiers(params)
    return {module: {name: rule(name, module in heads) for name in group} for module, group in params.items()}
