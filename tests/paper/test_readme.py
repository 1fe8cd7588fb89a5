"""The README's generated parts are those that the code generates now."""

import re

import numpy as np
import pytest
from PIL import Image

from figures.writing import write
from paper.claims import evaluate
from tools.measurements import breakdown, formulations, performance, scaling
from tools.update_readme import CLAIMS, DOCS, PERFORMANCE, PICTURES, README, blocks, claims, filled


def test_blocks_are_up_to_date(study):
    checked = evaluate(study)
    for path, parts in ((README, blocks(study, checked)), (CLAIMS, claims(checked))):
        text = path.read_text(encoding="utf-8")
        assert filled(text, parts) == text, "run `make readme`"


def test_tables_of_measurements_are_up_to_date():
    text = PERFORMANCE.read_text(encoding="utf-8")
    assert filled(text, performance()) == text, "run `make readme`"


def test_a_measurement_that_is_missing_says_how_to_take_it(tmp_path):
    assert "python -m benchmarks.formulations" in formulations(tmp_path / "none.json")
    assert "python -m benchmarks.breakdown" in breakdown(tmp_path / "none.json")
    assert "python -m benchmarks.scaling" in scaling(tmp_path / "none.json")


def test_pictures_are_those_that_the_code_draws(study, tmp_path):
    for new in write(study, list(PICTURES), tmp_path, ("png",), report=lambda line: None):
        stored, drawn = (np.asarray(Image.open(path).convert("RGB"), float) for path in (DOCS / new.name, new))
        assert stored.shape == drawn.shape
        # Rounding differs by a level between builds of NumPy; a moved marker changes far more.
        assert np.abs(stored - drawn).mean() < 0.05, f"{new.name}: run `make readme`"


def test_links_lead_somewhere():
    text = README.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    local = [target for target in targets if not target.startswith("https://")]
    assert len(local) >= 6
    for target in local:
        assert (README.parent / target).exists(), target


def test_a_missing_mark_is_named():
    with pytest.raises(ValueError, match="needs one block <!-- claims -->"):
        filled("nothing", {"claims": "x"})


@pytest.mark.slow
def test_python_example_runs():
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    names: dict = {}
    exec(example, names)
    assert names["logits"].shape == (2, 1000)
