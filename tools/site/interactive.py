"""Pages whose numbers follow the reader's choices, computed in the browser from the data that they carry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paper.results import MODELS
from tools.site.pages import table, toctree, write
from tools.site.play_data import curves_data, matched_data, optimum_data

if TYPE_CHECKING:
    from paper.study import Study


def write_pages(source: Path, study: Study) -> None:
    """Writes interactive/ and the data that its pages compute from."""
    data = {"curves": curves_data(study), "matched": matched_data(study), "optimum": optimum_data(study)}
    # A script rather than a file to fetch, which a page that was opened from a folder may not.
    text = f"window.nfnetData = {json.dumps(data, ensure_ascii=False)};\n"
    write(source / "_static" / "data.js", text)
    folder = source / "interactive"
    write(folder / "curves.md", _page("curves", _CURVES, _curves_controls(), _curves_table(data["curves"])))
    write(folder / "matched.md", _page("matched", _MATCHED, _matched_controls(), ""))
    write(folder / "optimum.md", _page("optimum", _OPTIMUM, _optimum_controls(data["optimum"]), ""))
    titles = {
        "Loss and error against compute": "curves",
        "Who leads at matched compute": "matched",
        "Size and epochs for a budget": "optimum",
    }
    listed = "\n".join(f"- [{title}]({name}.md)" for title, name in titles.items())
    head = "# Play\n\nTurn a knob, and the numbers are computed again, here in the browser."
    write(folder / "index.md", "\n\n".join([head, listed, toctree(list(titles.values()))]))


_CURVES = """# Loss and error against compute

Every run of the paper's Figures 1 and 2. Point at a run for its numbers, their uncertainty and their source; the
table below has them all. The laws are fitted to the runs on the compute frontier
([how](../reference/api/paper.fits.md))."""

_MATCHED = """# Who leads at matched compute

The best NFNet against the best Vision Transformer within each budget, on ImageNet. Vision Transformers were trained on
TPU-v3; what an hour there is worth on TPU-v4 is known within an interval, which the slider runs through. The
[claim](../claims/nfnets-lead-sweep.md) has the verdict, [the notebook](../notebooks/05_vit_at_matched_compute.ipynb)
the argument."""

_OPTIMUM = """# Size and epochs for a budget

Which model size and how many epochs on JFT-4B a fitted surface of the loss makes of a compute budget, and what the rule
of equal rates costs, started from the optimum in the middle of the range. Read
[the claim](../claims/same-rate.md) and [the notebook](../notebooks/01_scaling_law.ipynb)."""


def _page(name: str, words: str, controls: str, after: str) -> str:
    html = f"""```{{raw}} html
<form class="play-controls" data-page="{name}" onsubmit="return false" aria-label="Choices">
{controls}
</form>
<p class="play-answer" id="play-answer" role="status" aria-live="polite"></p>
<div class="play-chart" id="play-chart"></div>
<noscript>This page computes in the browser and needs JavaScript.</noscript>
<script src="../_static/vega.js"></script>
<script src="../_static/data.js"></script>
<script src="../_static/calculations.js"></script>
<script src="../_static/charts.js"></script>
```"""
    return "\n\n".join(part for part in (words, html, after) if part)


def _checkbox(name: str, label: str, *, checked: bool, value: str = "1") -> str:
    on = " checked" if checked else ""
    return f'<label><input type="checkbox" name="{name}" value="{value}"{on}> {label}</label>'


def _curves_controls() -> str:
    models = "".join(_checkbox("model", model, checked=True, value=model) for model in MODELS)
    laws = "".join(
        _checkbox("law", law, checked=law == "power law", value=law)
        for law in ("power law", "with an irreducible term")
    )
    return f"""<label>Quantity <select name="quantity"><option value="loss">held-out loss</option>
<option value="error">ImageNet error</option></select></label>
<fieldset><legend>Models</legend>{models}</fieldset><fieldset><legend>Fits</legend>{laws}</fieldset>"""


def _curves_table(data: dict[str, Any]) -> str:
    rows = [
        [
            run["model"],
            f"{run['epochs']:g}",
            f"{run['hours']:,.0f} ± {run['hours_width']:,.0f}",
            f"{run['value']:g} ± {run['value_width']:g}",
            quantity,
            run["source"] + (", repeated augmentation" if run["repeated"] else ""),
        ]
        for quantity, part in data.items()
        for run in part["runs"]
    ]
    head = ["Model", "Epochs", "TPU-v4 core hours", "Value", "Quantity", "Source"]
    return "## All runs\n\n" + table(head, rows)


def _matched_controls() -> str:
    later = {
        "": "none",
        "reported": "at their reported hours",
        "stated": "at the hours Smith et al. state",
        "figure 2": "at the hours of Zhai et al.'s Figure 2",
    }
    options = "".join(f'<option value="{value}">{words}</option>' for value, words in later.items())
    return f"""<label for="position">Conversion <input type="range" id="position" name="position" min="-1" max="1"
step="0.05" value="0"> <output id="position-text" for="position"></output></label>
<fieldset><legend>Runs</legend>{_checkbox("repeated", "repeated augmentation", checked=False)}
{_checkbox("jft3b", "JFT-3B only", checked=False)}{_checkbox("pixels384", "384 px only", checked=False)}
{_checkbox("largest", "with ViT-G/14", checked=True)}</fieldset>
<label>Later results <select name="later">{options}</select></label>"""


def _optimum_controls(data: dict[str, Any]) -> str:
    forms = "".join(f'<option value="{form}">{form}</option>' for form in data["surfaces"])
    return f"""<label for="step">Compute <input type="range" id="step" name="step" min="0" max="{data["steps"]}"
step="1" value="{data["steps"] // 2}"> <output id="step-text" for="step"></output></label>
<label>Surface <select name="form">{forms}</select></label>"""
