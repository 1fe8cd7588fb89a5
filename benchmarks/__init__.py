"""How fast everything is, measured side by side and kept as JSON in `benchmarks/results/`."""
