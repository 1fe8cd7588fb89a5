"""Optimisers, schedules and averages, as optax transformations."""
