"""How it looks: one module a figure; ``python -m figures`` draws them all."""
