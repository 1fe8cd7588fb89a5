"""Knobs: still where notebooks are stored, controls elsewhere; tables and answers as a notebook shows them."""

import sys
from types import SimpleNamespace

import ipywidgets
import pandas as pd
import pytest

from figures import notebook
from figures.notebook import STATIC, answer, knob, show
from nfnet.errors import UserError
from paper.tables.table import Table


def told(budget: int = 10, unit: str = "hours", star: bool = False) -> str:
    return f"{budget} {unit}{' *' if star else ''}"


CHOICES = {"budget": [1, 10, 100], "unit": {"core hours": "hours", "core days": "days"}, "star": (False, True)}


def test_a_still_knob_shows_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STATIC, "1")
    assert knob(told, **CHOICES) == "10 hours"


def test_a_knob_has_a_control_for_each_parameter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(STATIC, raising=False)
    turned = knob(told, **CHOICES)
    budget, unit, star = turned.children[:3]
    assert [type(one) for one in (budget, unit, star)] == [
        ipywidgets.SelectionSlider,
        ipywidgets.Dropdown,
        ipywidgets.Checkbox,
    ]
    assert [one.value for one in (budget, unit, star)] == [10, "hours", False]
    turned.update()
    assert turned.result == "10 hours"
    budget.value, unit.label, star.value = 100, "core days", True
    turned.update()
    assert turned.result == "100 days *"


@pytest.mark.parametrize("choices", [{"budget": [1, 2]}, {"size": [10]}, {"unit": {"hours": "days"}}])
@pytest.mark.parametrize("still", ["", "1"])
def test_a_default_that_is_no_choice_is_told(still: str, choices: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STATIC, still)
    with pytest.raises(UserError, match=f"told: the default of '{next(iter(choices))}' is none of"):
        knob(told, **choices)


def test_a_table_is_shown_with_the_columns_asked_for() -> None:
    table = Table("t", "Caption.", pd.DataFrame({"a": [1.25], "b": ["x"]}), {"a": "A", "b": "B"}, {"a": ".1f"})
    assert show(table)._repr_markdown_() == table.markdown()
    assert show(table, "b")._repr_markdown_().splitlines()[-1] == "| x   |"
    assert repr(show(table, "a")).split() == ["A", "1.2"]
    with pytest.raises(UserError, match=r"Table t has no column 'c'; it has a, b\."):
        show(table, "c")


def test_an_answer_is_folded() -> None:
    folded = answer("It is **42**.")._repr_markdown_()
    assert folded.startswith("<details><summary>Answer</summary>\n\n")
    assert folded.endswith("\n\n</details>")
    assert repr(answer("It is **42**.")) == "It is **42**."


@pytest.mark.parametrize("shell", [None, object()])
def test_results_are_kept_in_ipython_alone(shell: object, monkeypatch: pytest.MonkeyPatch) -> None:
    named = []
    monkeypatch.setattr(notebook, "remember", named.append)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    notebook._remember()
    assert [folder.name for folder in named] == ["memory"] * bool(shell)
