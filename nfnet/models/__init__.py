"""Networks in plain Haiku, and the table of their families."""
