"""The checks behind the claims, a module a section of the paper.

Every check takes a claim and the study and returns an :class:`~paper.verdicts.Outcome`; the first paragraph of its
docstring says which statistic it computes. A threshold is the level of a test, an uncertainty of the readings or of
the text, or stands in the claim's entry in ``claims.toml`` with a reason that was not read off the result.
:mod:`~paper.checks.consistency` holds what the logged numbers must obey whatever is claimed. Checks may import the
study and what it is made of.
"""
