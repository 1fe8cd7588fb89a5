"""A claim, and what a check may find of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from nfnet.errors import UserError

__all__ = ["LEVEL", "Claim", "Outcome", "Verdict", "verdict"]

LEVEL = 0.05
"""Level of every test: what chance alone gives less often than this counts as decided."""


class Verdict(StrEnum):
    """What the data say of a claim: those that were published, or our own runs."""

    HOLDS = "holds"
    CAVEAT = "holds with a caveat"
    FAILS = "does not hold"
    OPEN = "cannot be decided from what was published"
    UNDECIDED = "is not decided by the runs so far"


@dataclass(frozen=True)
class Claim:
    """A statement and how it is checked.

    Attributes:
        id: Short name, unique.
        section: Where the paper says it; for our own, what it is about.
        origin: ``paper``; ``ours`` for statements about the data that the paper does not make; or ``replication`` for
            predictions of our own runs.
        statement: Our paraphrase.
        check: ``module.function`` below :mod:`paper.checks`.
        verdict: The recorded verdict.
        expected: Expected value, where the check compares one.
        tolerance: Half-width around ``expected`` that still agrees.
        unit: Unit of both.
        compute_factor: Runs count as of comparable compute up to this multiple of each other's, where the check asks.
        kind: ``statement``, which data can decide; ``erratum``, a slip of the text; or ``description``, what was done.
        null: What the data would show if the claim were false, or what the statistic is compared with.
        reason: Why the threshold is what it is, from the claim's words or other sources; empty without a threshold.
        caveat: Why the verdict is not a plain "holds"; empty otherwise.
        notebook: Notebook that tells it.
        resampled: Whether the check needs bootstrap intervals.
    """

    id: str
    section: str
    origin: str
    statement: str
    check: str
    verdict: Verdict
    expected: float | None = None
    tolerance: float | None = None
    unit: str = "1"
    compute_factor: float = 1.0
    kind: str = "statement"
    null: str = ""
    reason: str = ""
    caveat: str = ""
    notebook: str = ""
    resampled: bool = False

    def agrees(self, value: float) -> bool:
        """Whether ``value`` lies within the tolerance of the expected value.

        Raises:
            UserError: If the claim states no expected value or tolerance.
        """
        if self.expected is None or self.tolerance is None:
            raise UserError(f"claims.toml: claim {self.id!r} needs `expected` and `tolerance` for its check.")
        # The slack absorbs the rounding of decimal fractions such as 100 - 9.75.
        return abs(value - self.expected) <= self.tolerance + 1e-9


@dataclass(frozen=True)
class Outcome:
    """What a check found.

    Attributes:
        verdict: The computed verdict.
        evidence: A sentence with the numbers behind it.
        caveat: What the data themselves hold against a plain verdict, with its numbers; beside the claim's own caveat,
            which says what no data can.
        number: The one number that decides, with its unit, a few words at most; empty where none was published.
    """

    verdict: Verdict
    evidence: str
    caveat: str = ""
    number: str = ""


def verdict(holds: bool, *, caveat: bool = False) -> Verdict:
    """``holds`` or ``does not hold``; ``caveat`` qualifies a claim that holds."""
    if not holds:
        return Verdict.FAILS
    return Verdict.CAVEAT if caveat else Verdict.HOLDS
