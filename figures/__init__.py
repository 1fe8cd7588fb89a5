"""How it looks: one module a figure; ``python -m figures`` draws them all.

``figures.registry`` maps names to modules, ``figures.style`` holds every label, colour and marker.
``python -m figures.fit`` draws own runs.
"""
