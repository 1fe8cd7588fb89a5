"""Studies: which runs they consist of, how they stand, and where they are executed."""
