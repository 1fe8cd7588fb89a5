"""What a network says about the parts that it is made of, so that each is counted by itself and equal ones once."""

from collections.abc import Callable, Hashable
from typing import NamedTuple

from jax import Array


class Part(NamedTuple):
    """A layer or block of a network, or a number of equal blocks.

    Attributes:
        stage: What it belongs to, such as "stem" or "stage 1".
        apply: Builds it and applies it: `apply(*settings, x)` within `hk.transform`, without random numbers.
        settings: Parts that are equal in these, in `apply` and in `shape` are traced once.
        shape: Of its input for one image.
        side: Of its output, in pixels or patches.
        blocks: Residual blocks that it stands for; 0 if it is none.
    """

    stage: str
    apply: Callable[..., Array]
    settings: tuple[Hashable, ...]
    shape: tuple[int, ...]
    side: int
    blocks: int = 0
