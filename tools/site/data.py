"""The data package: a page a file, with every column and the file itself."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paper.provenance import DATA
from tools.site.links import data_of_figures
from tools.site.pages import code, escaped, table, toctree, write


def write_pages(source: Path, package: Mapping[str, Any]) -> None:
    """Writes data/index.md and data/FILE.md."""
    rows, names = [], []
    (source / "_files").mkdir(parents=True)
    for resource in package["resources"]:
        stem = Path(resource["path"]).stem
        shutil.copy(DATA / resource["path"], source / "_files")
        names.append(stem)
        rows.append([f"[{code(resource['path'])}]({stem}.md)", escaped(resource["title"])])
        write(source / "data" / f"{stem}.md", _page(resource))
    shutil.copy(DATA / "datapackage.json", source / "_files")
    text = [
        "# Data",
        escaped(package["description"]),
        "{download}`datapackage.json <../_files/datapackage.json>` describes all files, in the Frictionless format.",
        table(["File", "What it holds"], rows),
        toctree(names),
    ]
    write(source / "data" / "index.md", "\n\n".join(text))


def _page(resource: Mapping[str, Any]) -> str:
    fields = resource["schema"]["fields"]
    rows = [
        [
            code(field["name"]),
            escaped(field.get("description", "")),
            escaped(field.get("unit", "")) or "none",
            _uncertainty(field),
            escaped(_kind(field)),
        ]
        for field in fields
    ]
    with (DATA / resource["path"]).open(encoding="utf-8", newline="") as file:
        head, *values = list(csv.reader(file))
    sources = "\n".join(f"- [{escaped(one['title'])}]({one['path']})" for one in resource.get("sources", []))
    figures = [name for name in _figures() if resource["path"] in data_of_figures(name)]
    parts = [
        f"# {resource['path']}",
        f"**{escaped(resource['title'])}.** {escaped(resource.get('description', ''))}",
        f"{{download}}`{resource['path']} <../_files/{resource['path']}>`: {resource['bytes']:,} bytes, {len(values)} "
        "rows.",
        f"Hash: `{resource['hash']}`",
        "## Columns",
        table(["Column", "Meaning", "Unit", "Uncertainty (half-width)", "Type"], rows),
        *(["## How it was read", escaped(resource["howRead"])] if resource.get("howRead") else []),
        *(["## Sources", sources] if sources else []),
        *(["## Licence", escaped(resource["licenceNote"])] if resource.get("licenceNote") else []),
        *(["## Figures", "\n".join(f"- [{name}](../figures/{name}.md)" for name in figures)] if figures else []),
        "## Rows",
        table([code(name) for name in head], [[escaped(value) for value in row] for row in values]),
    ]
    return "\n\n".join(parts)


def _figures() -> list[str]:
    from figures.registry import FIGURES

    return list(FIGURES)


def _kind(field: Mapping[str, Any]) -> str:
    allowed = field.get("constraints", {}).get("enum")
    return f"{field['type']}: {', '.join(map(str, allowed))}" if allowed else str(field["type"])


def _uncertainty(field: Mapping[str, Any]) -> str:
    return "; ".join(_part(part) for part in field.get("uncertainty", [])) or "none stated"


def _part(part: Mapping[str, Any]) -> str:
    """One range of values with its half-width."""
    if "absolute" in part:
        width = f"{part['absolute']:g}"
    elif "relative" in part:
        width = f"{part['relative']:.3g} of the value"
    else:
        width = ", ".join(f"{name}: {value}" for name, value in part.items())
        return escaped(width)
    ends = [f"from {part['from']:g}"] if "from" in part else []
    ends += [f"below {part['below']:g}"] if "below" in part else []
    return f"{width} ({' '.join(ends)})" if ends else width
