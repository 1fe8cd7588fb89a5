"""One table, in the formats that it is written in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Table"]


@dataclass(frozen=True)
class Table:
    """A table with its heading texts and number formats.

    Attributes:
        name: File name without ending.
        caption: One sentence.
        frame: Unrounded values.
        headings: Heading of each column, with its unit.
        formats: Format specification of numeric columns.
    """

    name: str
    caption: str
    frame: pd.DataFrame
    headings: Mapping[str, str]
    formats: Mapping[str, str] = field(default_factory=dict)

    def formatted(self) -> pd.DataFrame:
        """The table as it is read: formatted numbers, empty cells for missing ones, headings with units."""
        import pandas as pd

        columns = {}
        for name, heading in self.headings.items():
            spec = self.formats.get(name, "")
            columns[heading] = ["" if pd.isna(value) else format(value, spec) for value in self.frame[name]]
        return pd.DataFrame(columns)

    def markdown(self) -> str:
        """GitHub-flavoured Markdown with the caption above."""
        frame = self.formatted().map(lambda cell: cell.replace("|", "\\|"))
        body = frame.to_markdown(index=False, disable_numparse=True, colalign=self._alignment())
        return f"{self.caption}\n\n{body}\n"

    def latex(self) -> str:
        """A LaTeX ``table`` (booktabs) with caption and label."""
        alignment = "".join("r" if side == "right" else "l" for side in self._alignment())
        return str(
            self.formatted().to_latex(
                index=False, escape=True, caption=self.caption, label=f"tab:{self.name}", column_format=alignment
            )
        )

    def csv(self) -> str:
        """Unrounded values."""
        return str(self.frame.to_csv(index=False, lineterminator="\n"))

    def _alignment(self) -> list[str]:
        return ["right" if name in self.formats else "left" for name in self.headings]
