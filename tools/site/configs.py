"""The configurations with their docstrings and sources."""

from __future__ import annotations

import ast
from pathlib import Path

from tools.site.pages import ROOT, escaped, table, toctree, write


def write_pages(source: Path) -> None:
    """Writes reference/configs/: a page a configuration."""
    rows, names = [], []
    for path in sorted((ROOT / "nfnet" / "configs").glob("[!_]*.py")):
        code = path.read_text(encoding="utf-8").rstrip()
        said = ast.get_docstring(ast.parse(code)) or ""
        names.append(path.stem)
        rows.append([f"[{path.stem}]({path.stem}.md)", escaped(said.split("\n\n")[0])])
        text = [f"# {path.stem}", f"```text\n{said}\n```", f"`nfnet/configs/{path.name}`:", f"```python\n{code}\n```"]
        write(source / "reference" / "configs" / f"{path.stem}.md", "\n\n".join(text))
    text = ["# Configurations", table(["Name", "What it trains"], rows), toctree(names)]
    write(source / "reference" / "configs" / "index.md", "\n\n".join(text))
