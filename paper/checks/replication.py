"""Checks of the predictions that `paper/replication/design.md` made of our own runs before the first of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import TYPE_CHECKING

from paper.replication import findings
from paper.verdicts import Claim, Outcome, Verdict

if TYPE_CHECKING:
    from paper.replication.findings import Finding, Score
    from paper.replication.logs import Replication
    from paper.study import Study

VERDICTS: Mapping[Score, Verdict] = {
    "true": Verdict.HOLDS,
    "false": Verdict.FAILS,
    "not decided": Verdict.UNDECIDED,
    "awaits runs": Verdict.UNDECIDED,
}
CAVEATS: Mapping[Score, str] = {
    "true": "",
    "false": "This is a prediction of before the first run.",
    "not decided": "At the 5% level these runs leave both answers open.",
    "awaits runs": "A prediction is scored when all runs that it asks of have ended.",
}


def _check(find: Callable[[Replication], Finding]) -> Callable[[Claim, Study], Outcome]:
    @wraps(find)  # whose docstring tells the statistic, and whose source the check
    def check(claim: Claim, study: Study) -> Outcome:
        found = find(study.replication)
        return Outcome(VERDICTS[found.score], found.evidence, CAVEATS[found.score], found.number)

    return check


log_log_law = _check(findings.log_log_law)
larger_wins = _check(findings.larger_wins)
both_grow = _check(findings.both_grow)
same_rate = _check(findings.same_rate)
one_epoch = _check(findings.one_epoch)
rate_falls = _check(findings.rate_falls)
two_trials = _check(findings.two_trials)
swaps = _check(findings.swaps)
repeated_augmentation = _check(findings.repeated_augmentation)
sam = _check(findings.sam)
convnets_match = _check(findings.convnets_match)
