"""The one rule by which parameters fit a network: for loading, fine-tuning, evaluating and resuming.

`fit` compares parameters found anywhere with those that a network needs. It reads no file and refuses nothing: it
returns what the network may start from, and a report. Whoever calls it says in their own words what they refuse.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from nfnet.errors import UserError, printable
from nfnet.models.families import FAMILIES, classifiers, roots
from nfnet.weights.vit import resize_position_embedding

Params = Mapping[str, Mapping[str, Any]]
Shape = tuple[int, ...]
Policy = Literal["strict", "lenient", "partial"]
_POSITIONS = {family.positions: family.class_token for family in FAMILIES.values() if family.positions}


@dataclass(frozen=True)
class Mismatch:
    """An array that is not as it is needed.

    Attributes:
        name: "module/name".
        found: Its shape, or None if it was not found.
        wanted: The shape needed, or None if it is not needed at all.
        in_head: Whether it is the classifier's.
    """

    name: str
    found: Shape | None
    wanted: Shape | None
    in_head: bool = False

    def __str__(self) -> str:
        if self.found is None and self.in_head:
            return f"it holds no classifier ({printable(self.name)} is missing)"
        if self.found is None:
            return f"parameter {printable(self.name)} is missing"
        if self.wanted is None:
            return f"the network has no parameter {printable(self.name)}"
        return f"parameter {printable(self.name)} has shape {self.found}, but the network needs {self.wanted}"


@dataclass(frozen=True)
class Fit:
    """Parameters for a network, and what became of each array, by "module/name".

    Attributes:
        params: A value for every parameter of the network.
        loaded: Taken as found.
        resized: Position embeddings, interpolated to another number of patches.
        reset: The classifier, as initialised because it is to be replaced.
        skipped: As initialised because they were not found, or have another shape.
        left_over: Found, but not in the network.
        mismatch: The first array that the policy forbids to be as it is; with no array taken, the first that differs.
    """

    params: dict[str, dict[str, Any]] = field(repr=False)
    loaded: tuple[str, ...]
    resized: tuple[str, ...]
    reset: tuple[str, ...]
    skipped: tuple[str, ...]
    left_over: tuple[str, ...]
    mismatch: Mismatch | None

    @property
    def problem(self) -> str | None:
        """Why the parameters do not fit, as a part of a sentence, or None if they do."""
        if self.loaded or self.resized:
            return None if self.mismatch is None else str(self.mismatch)
        return "nothing in it fits the network" + (f" ({self.mismatch})" if self.mismatch else "")

    def __str__(self) -> str:
        return listing(**{what: getattr(self, what) for what in ("loaded", "resized", "reset", "skipped", "left_over")})


def listing(loaded: tuple[str, ...], **others: tuple[str, ...]) -> str:
    """Returns one line that counts arrays by what became of them, and names the first of those not loaded."""
    counts = [f"{len(loaded)} arrays loaded"]
    for what, names in others.items():
        if names:
            shown = ", ".join(map(printable, names[:4])) + (", ..." if len(names) > 4 else "")
            counts.append(f"{len(names)} {what.replace('_', ' ')} ({shown})")
    return "; ".join(counts)


def mismatches(found: Mapping[str, Shape], wanted: Mapping[str, Shape]) -> list[Mismatch]:
    """Returns all arrays whose shapes differ, by name: those wanted first."""
    names = dict.fromkeys((*wanted, *found))
    return [Mismatch(key, found.get(key), wanted.get(key)) for key in names if found.get(key) != wanted.get(key)]


def fit(found: Params, wanted: Params, *, replace_head: bool = False, policy: Policy = "strict") -> Fit:
    """Compares parameters with those of a network.

    A network that is nested in another module of the wanted tree, or renamed, takes the parameters of its family
    wherever they were found; what stands around it need not be found. A ViT's position embedding is interpolated
    (bilinear) between square grids.

    Args:
        found: Parameters {module: {name: array}}, of any floating-point type.
        wanted: The network's parameters as initialised; they give names, shapes and types.
        replace_head: Keep the wanted classifier, whatever was found.
        policy: "strict" forbids every difference, "lenient" other shapes alone, "partial" none.

    Raises:
        UserError: Several networks could take the parameters.
    """
    found = _moved(found, wanted)
    heads, networks = classifiers(wanted), tuple(roots(wanted))
    unlike = {one.name: one for one in mismatches(_shapes(found), _shapes(wanted))}
    params: dict[str, dict[str, Any]] = {}
    became: dict[str, list[str]] = {kind: [] for kind in ("loaded", "resized", "reset", "skipped")}
    wrong: list[Mismatch] = []
    for module, group in wanted.items():
        params[module] = dict(group)
        others = found.get(module, {})
        for name, value in group.items():
            key, kind = f"{module}/{name}", "skipped"
            difference = unlike.pop(key, None)
            if replace_head and module in heads:
                kind = "reset"
            elif difference is None:
                params[module][name], kind = np.asarray(others[name]).astype(value.dtype, copy=False), "loaded"
            elif name in _POSITIONS and _can_resize(difference, {_POSITIONS[name] in tree for tree in (others, group)}):
                stored, with_class = np.asarray(others[name]).astype(value.dtype), _POSITIONS[name] in group
                grid = (math.isqrt(value.shape[1] - with_class),) * 2
                params[module][name] = resize_position_embedding(stored, grid, with_class=with_class)
                kind = "resized"
            elif difference.found is not None or not networks or f"{module}/".startswith(networks):
                wrong.append(Mismatch(key, difference.found, difference.wanted, module in heads))
            became[kind].append(key)
    wrong += unlike.values()  # what is left over
    taken = became["loaded"] or became["resized"]
    shapes_alone = [one for one in wrong if None not in (one.found, one.wanted)]
    forbidden = {"strict": wrong, "lenient": shapes_alone, "partial": []}[policy] if taken else wrong
    first = min(forbidden, key=lambda one: one.in_head, default=None)  # the classifier's is told where all else fits
    loaded, resized, reset, skipped = (tuple(names) for names in became.values())
    return Fit(params, loaded, resized, reset, skipped, tuple(unlike), first)


def _shapes(params: Params) -> dict[str, Shape]:
    return {f"{module}/{name}": value.shape for module, group in params.items() for name, value in group.items()}


def _can_resize(difference: Mismatch, with_class: set[bool]) -> bool:
    """Whether position embeddings [1, tokens, width] differ in the sides of square grids alone."""
    found, wanted = difference.found or (), difference.wanted or ()
    if len(with_class) > 1 or len(found) != 3 or len(wanted) != 3 or found[::2] != wanted[::2] or found[0] != 1:
        return False
    patches = [shape[1] - sum(with_class) for shape in (found, wanted)]
    return all(number > 0 and math.isqrt(number) ** 2 == number for number in patches)


def _moved(found: Params, wanted: Params) -> Params:
    """Gives the modules of a network the names that they have in the wanted tree."""
    here, there = roots(found), roots(wanted)
    for root, family in here.items():
        places, alike = ([one for one in tree if tree[one] == family] for tree in (there, here))
        if root in places or not places:
            continue
        if len(places) > 1 or len(alike) > 1:
            names = ", ".join(printable(one.rstrip("/")) for one in sorted(places if len(places) > 1 else alike))
            raise UserError(f"Several networks of one family ({names}) could be meant: pass the parameters of one.")
        inside = {module: f"{module}/".removeprefix(root) for module in found if f"{module}/".startswith(root)}
        found = {
            f"{places[0]}{inside[module]}".rstrip("/") if module in inside else module: group
            for module, group in found.items()
        }
    return found
