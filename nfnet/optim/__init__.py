"""Optimisers, schedules and averages, as optax transformations; `settings` has the table of them."""
