"""What the pages are written from, without building them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from figures.registry import FIGURES
from paper.claims import load_claims
from paper.study import Study
from paper.vits.advantage import CONVERSIONS
from tools.site import links, pages, play_data
from tools.site.shrink import shrink


@pytest.fixture(scope="module")
def study() -> Study:
    return Study.load(resamples=20)


def test_figures_and_claims_that_belong_together_exist() -> None:
    shown = links.claims_of_figures()
    assert set(shown) <= set(FIGURES)
    assert {name for ids in shown.values() for name in ids} <= {claim.id for claim in load_claims()}


def test_every_figure_that_shows_results_names_its_data() -> None:
    assert links.data_of_figures("figure2") == ["smith2023_figure2.csv"]
    assert "zhai2022_finetune.csv" in links.data_of_figures("nfnet_vs_vit")


def test_text_is_shown_as_it_is() -> None:
    assert pages.escaped("a_b *c* <d>\n[e]") == r"a\_b \*c\* \<d\> \[e\]"
    assert pages.with_code("Data: ``a_b.csv``,\n`c` and d_e") == r"Data: `a_b.csv`, `c` and d\_e"


def test_shrinking_changes_nothing_that_is_seen(tmp_path: Path) -> None:
    for name in ("_images", "_static/scripts"):
        (tmp_path / name).mkdir(parents=True)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8))
    picture.save(tmp_path / "_images" / "one.png")
    unused = [tmp_path / "_static" / name for name in ("site.js.map", "locales/de/theme.mo")]
    unused[1].parent.mkdir(parents=True)
    for path in unused:
        path.touch()
    icon = '[512,512,[8962,"house"],"f015","M0 0"]'
    icons = tmp_path / "_static" / "scripts" / "fontawesome.js"
    icons.write_text(f'x={{home:{icon},"arrow-up":{icon.replace("house", "up")},bars:{icon.replace("house", "menu")}}}')
    page = tmp_path / "index.html"
    code = '<pre><span class="n">x</span>\n    <span class="k">in</span> y</pre>'
    page.write_text(f'<p>\n   <img src="_images/one.png"> <i class="fa-solid fa-house fa-bars"></i></p>{code}')
    shrink(tmp_path, 1)
    code = '<pre>x\n    <span class="k">in</span> y</pre>'
    assert page.read_text() == f'<p>\n<img src="_images/one.webp"> <i class="fa-solid fa-house fa-bars"></i></p>{code}'
    with Image.open(tmp_path / "_images" / "one.webp") as found:
        np.testing.assert_array_equal(np.asarray(found.convert("RGB")), np.asarray(picture))
    assert icons.read_text() == f"x={{home:{icon},bars:{icon.replace('house', 'menu')}}}"
    assert not any(path.exists() for path in unused)


@pytest.mark.parametrize(("position", "conversion"), list(zip((-1.0, 0.0, 1.0), CONVERSIONS, strict=True)))
def test_matched_compute_is_the_analysis_at_the_ends_and_the_middle(
    study: Study, position: float, conversion: str
) -> None:
    found = play_data.led(study, play_data.Choice(position))
    analysed = study.matched.advantage(study.matched.scenarios[0], conversion)
    assert found["led"] == analysed.share_led
    assert found["beyond"] == analysed.share_beyond
    assert found["behind"] == analysed.share_behind
