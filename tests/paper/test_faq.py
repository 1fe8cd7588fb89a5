"""What docs/faq.md says: its Python runs, its links lead somewhere, and the tables show what the text says of them."""

import re
from pathlib import Path

from paper.experiments.propagation import propagation, scaling_orders, transitions

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "faq.md").read_text(encoding="utf-8")


def test_the_python_runs(capsys):
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(compile(block, "docs/faq.md", "exec"), {})
        assert capsys.readouterr().out


def test_its_links_lead_somewhere():
    targets = re.findall(r"\]\(([^)#:]+)\)", TEXT)
    assert targets
    assert all((DOCS / target).exists() for target in targets)


def test_only_the_third_way_to_apply_beta_misses_the_unit_variance():
    orders = scaling_orders("F7")
    assert (orders["act(x) * beta"] - 1).abs().max() < 0.05
    assert (orders["act(x * beta)"] - 1).abs().max() < 0.05
    assert (orders["act(x / beta)"] > orders.expected_std**2).all()


def test_halving_takes_the_more_the_less_smooth_the_input():
    kept = transitions(propagation()).query("halves").pivot(index="stage", columns="inputs", values="kept")
    assert (kept.noise < kept.photograph).all()
    assert (kept.photograph < kept.uniform).all()
