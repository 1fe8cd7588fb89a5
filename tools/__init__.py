"""Scripts that keep the repository's generated files up to date."""
