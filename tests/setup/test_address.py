"""Links that need the repository's address are there when it is set, and nowhere when it is not."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nbformat
import pytest

from nfnet.errors import UserError
from tools.address import PYPROJECT, guard, links, pages, repository, with_links

ROOT = Path(__file__).parents[2]
ADDRESS = "https://github.com/Ada-L/nfnets"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def project(folder: Path, line: str) -> Path:
    """A pyproject.toml with a line more among its addresses."""
    text = PYPROJECT.read_text(encoding="utf-8")
    text = re.sub(r"^(Repository|Documentation) = .*\n", "", text, flags=re.MULTILINE)
    path = folder / "pyproject.toml"
    path.write_text(text.replace("[project.urls]\n", f"[project.urls]\n{line}\n"), encoding="utf-8")
    return path


def targets(badges: str) -> dict[str, str]:
    """Where each badge leads."""
    return dict(re.findall(r"\[!\[([^]]+)\]\([^)\s]+\)\]\(([^)\s]+)\)", badges))


def test_without_an_address_there_is_no_link(tmp_path: Path) -> None:
    assert repository(project(tmp_path, "")) == ""
    assert links("") == links("", "01_scaling_law") == pages("", project(tmp_path, "")) == ""
    assert "https://" not in guard("")


def test_with_an_address_each_badge_leads_to_it(tmp_path: Path) -> None:
    path = project(tmp_path, f'Repository = "{ADDRESS}/"')
    assert repository(path) == ADDRESS
    found = targets(links(repository(path), pyproject=path))
    assert list(found) == [
        "CI",
        "Python 3.11 to 3.13",
        "Licence Apache-2.0",
        "Open in Binder",
        "Open in Colab",
        "Docs",
    ]
    assert found["CI"] == f"{ADDRESS}/actions/workflows/test.yml"
    assert (ROOT / ".github" / "workflows" / "test.yml").is_file()
    assert found["Docs"] == "https://ada-l.github.io/nfnets/"
    for name in ("Python 3.11 to 3.13", "Licence Apache-2.0"):
        assert (ROOT / found[name]).is_file()
    assert found["Open in Binder"].startswith("https://mybinder.org/v2/gh/Ada-L/nfnets/HEAD?urlpath=lab%2Ftree%2F")
    assert found["Open in Colab"].startswith("https://colab.research.google.com/github/Ada-L/nfnets/blob/main/")


def test_the_site_may_be_elsewhere(tmp_path: Path) -> None:
    path = project(tmp_path, 'Documentation = "https://site.example/"')
    assert pages("", path) == pages(ADDRESS, path) == "https://site.example/"


def test_a_notebook_has_its_own_buttons() -> None:
    found = targets(links(ADDRESS, "04_architecture"))
    assert list(found) == ["Open in Binder", "Open in Colab"]
    assert all(target.endswith("04_architecture.ipynb") for target in found.values())


@pytest.mark.parametrize(
    "address", ["github.com/a/b", "https://github.com/a", "https://example.org/a/b", "javascript:0"]
)
def test_another_kind_of_address_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="but badges need https://github"):
        repository(project(tmp_path, f'Repository = "{address}"'))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_up_to_date_and_follows_the_address(path: Path) -> None:
    stored = nbformat.read(path, as_version=4)
    notebook = nbformat.read(path, as_version=4)
    with_links(notebook, path.stem, repository())
    assert notebook == stored, "run `make readme`"

    with_links(notebook, path.stem, ADDRESS)
    with_links(notebook, path.stem, ADDRESS)
    title, _, buttons, _ = notebook.cells[0].source.split("\n", maxsplit=3)
    assert title.startswith("# ")
    assert buttons == links(ADDRESS, path.stem)
    assert f"`!git clone {ADDRESS}`" in re.sub(r'"\s+"', "", notebook.cells[1].source)
    with_links(notebook, path.stem, repository())
    assert notebook == stored


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_without_its_packages_says_what_to_install(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = next(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")
    for name in ("figures.notebook", "sklearn.datasets"):  # as if there were neither
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError) as caught:
        exec(source.removeprefix("%matplotlib inline\n"), {})
    extra = "train" if path.stem == "06_use_nfnets" else ""
    assert str(caught.value) == guard(repository(), extra)


def test_a_notebook_without_title_or_guard_is_told() -> None:
    cells = [nbformat.v4.new_markdown_cell("text"), nbformat.v4.new_code_cell("1")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    with pytest.raises(ValueError, match="a title"):
        with_links(notebook, "x", "")
    notebook.cells[0].source = "# Title"
    with pytest.raises(ValueError, match="needs `raise ModuleNotFoundError"):
        with_links(notebook, "x", "")
