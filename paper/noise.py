"""How far an error rate on a finite test set may lie from the model's own: the noise that no comparison escapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["INTERVAL", "ONE_SIDED", "difference_error", "difference_z", "standard_error", "validation_images"]

INTERVAL = 1.959963984540054
"""Standard errors to either end of a 95% interval of a normal distribution."""

ONE_SIDED = 1.6448536269514722
"""Standard errors to the one end of a one-sided 95% interval."""

Percent = float | Float[np.ndarray, " *shape"]


def validation_images(datasets: pd.DataFrame) -> int:
    """Images of ImageNet's validation set, on which all top-1 errors of both papers are counted.

    Args:
        datasets: Rows of ``datasets.csv``.

    Raises:
        UserError: If they lack the split.
    """
    from nfnet.errors import UserError

    row = datasets[(datasets.dataset == "ImageNet-1k") & (datasets.split == "validation")]
    if len(row) != 1:
        raise UserError("datasets.csv: no row of ImageNet-1k's validation split; restore it from version control.")
    return int(row.images.iloc[0])


def standard_error(error_percent: Percent, images: int) -> Float[np.ndarray, " *shape"]:
    """Binomial standard error of an error rate, in percentage points.

    Args:
        error_percent: Error rate or rates, in percent.
        images: Images of the test set.
    """
    share = np.asarray(error_percent, float) / 100
    return np.asarray(100 * np.sqrt(share * (1 - share) / images))


def difference_error(first: Percent, second: Percent, images: int) -> Float[np.ndarray, " *shape"]:
    """Standard error of the difference of two error rates, each of ``images`` drawn independently, in points.

    Two models that err on the same images are closer than that: with the images in common the standard error is
    smaller, so this one is an upper bound wherever their errors go together.
    """
    return np.asarray(np.hypot(standard_error(first, images), standard_error(second, images)))


def difference_z(first: Percent, second: Percent, images: int) -> Float[np.ndarray, " *shape"]:
    """Difference ``first - second`` of two error rates in standard errors, taking them as independent.

    Both were counted on the same images, and models err on much the same ones, so the true standard error is smaller:
    this is a lower bound on ``|z|``: a lead that exceeds the noise by it does so, one within it is not shown to be
    noise. Counts of the images on which exactly one of two models errs would give the exact test (McNemar's); neither
    paper publishes them.

    Args:
        first: Error rate or rates, in percent.
        second: Likewise.
        images: Images of the test set.
    """
    return np.asarray((np.asarray(first, float) - np.asarray(second, float)) / difference_error(first, second, images))
