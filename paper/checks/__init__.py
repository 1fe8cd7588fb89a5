"""The checks behind the claims, a module a section of the paper.

Every check takes a claim and the study and returns an :class:`~paper.verdicts.Outcome`. Thresholds come from the
claim's entry in ``claims.toml`` or from the paper's own numbers, never from the code of the check.
:mod:`~paper.checks.consistency` holds what the logged numbers must obey whatever is claimed. Checks may import the
study and what it is made of.
"""
