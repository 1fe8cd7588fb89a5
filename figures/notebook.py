"""What a notebook shows beside its text: figures, tables, verdicts, knobs to turn and answers to unfold.

A notebook needs one line of imports: ``from figures.notebook import Study, answer, draw, knob, show, tell``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from figures.registry import draw
from nfnet.errors import UserError
from paper.claims import tell
from paper.keeping.memory import remember
from paper.study import Study

if TYPE_CHECKING:
    from paper.tables.table import Table

__all__ = ["STATIC", "Shown", "Study", "answer", "draw", "knob", "show", "tell"]

STATIC = "NOTEBOOKS_STATIC"
"""Environment variable that keeps knobs still: set where notebooks are stored or compared with what was stored."""

_ROOT = Path(__file__).parents[1]


def _remember() -> None:
    """In IPython: what `make reproduce` or another notebook has computed, a reader need not wait for again."""
    shell = sys.modules.get("IPython")
    if shell and shell.get_ipython() and (_ROOT / "pyproject.toml").is_file():
        remember(_ROOT / "build" / "memory")


_remember()


@dataclass(frozen=True)
class Shown:
    """A text for a notebook to show.

    Attributes:
        markdown: As it is read.
        plain: As it stands where Markdown is not understood.
    """

    markdown: str
    plain: str

    def _repr_markdown_(self) -> str:
        return self.markdown

    def __repr__(self) -> str:
        return self.plain


def show(table: Table, *columns: str) -> Shown:
    """A table with its caption; only the ``columns`` named, where any are.

    Raises:
        UserError: If the table has no such column.
    """
    for name in columns:
        if name not in table.headings:
            raise UserError(f"Table {table.name} has no column {name!r}; it has {', '.join(table.headings)}.")
    chosen = replace(table, headings={name: table.headings[name] for name in columns or table.headings})
    return Shown(chosen.markdown(), chosen.formatted().to_string(index=False))


def answer(text: str) -> Shown:
    """The answer to an exercise, folded: ``text`` is Markdown."""
    return Shown(f"<details><summary>Answer</summary>\n\n{text}\n\n</details>", text)


def knob(function: Callable[..., Any], **choices: Sequence[Any] | Mapping[str, Any]) -> Any:
    """What ``function`` returns, with a control for each parameter that has choices.

    Where :data:`STATIC` is set, this is the result of the parameters' defaults alone, which a stored notebook shows.

    Args:
        function: Returns what the notebook shows; every parameter has a default.
        choices: Values of each parameter, or texts to choose from and their values: a check box for False and True, a
            slider for numbers, otherwise a menu.

    Raises:
        UserError: If a parameter has no default, or its default is none of its choices.
    """
    defaults = {name: parameter.default for name, parameter in signature(function).parameters.items()}
    for name, values in choices.items():
        options = list(values.values() if isinstance(values, Mapping) else values)
        if name not in defaults or not any(defaults[name] == one for one in options):
            raise UserError(f"{function.__name__}: the default of {name!r} is none of {', '.join(map(str, options))}.")
    if os.environ.get(STATIC):
        return function()
    import ipywidgets

    return ipywidgets.interactive(
        function, **{name: _control(name, values, defaults[name]) for name, values in choices.items()}
    )


def _control(name: str, choices: Sequence[Any] | Mapping[str, Any], default: Any) -> Any:
    import ipywidgets

    named = list(choices.items() if isinstance(choices, Mapping) else ((_text(one), one) for one in choices))
    values = [value for _, value in named]
    look = {"value": default, "description": name.replace("_", " "), "style": {"description_width": "initial"}}
    if values in ([False, True], [True, False]):
        return ipywidgets.Checkbox(**look)
    if all(isinstance(value, int | float) for value in values):
        return ipywidgets.SelectionSlider(options=named, continuous_update=False, **look)
    return ipywidgets.Dropdown(options=named, **look)


def _text(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value)
