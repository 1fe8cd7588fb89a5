"""The checks behind the claims, a module a section of the paper.

Every check takes a claim and the study and returns an :class:`~paper.claims.Outcome`. Thresholds come from the claim's
entry in ``claims.toml`` or from the paper's own numbers, never from the code of the check.
"""
