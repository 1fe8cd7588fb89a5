"""Configuration files: one recipe each, with the command that runs it."""
