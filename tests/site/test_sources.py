"""What the pages are written from, without building them."""

import pytest

from figures.registry import FIGURES
from paper.claims import load_claims
from paper.study import Study
from paper.vits.advantage import CONVERSIONS
from tools.site import links, pages, play_data


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


@pytest.mark.parametrize(("position", "conversion"), list(zip((-1.0, 0.0, 1.0), CONVERSIONS, strict=True)))
def test_matched_compute_is_the_analysis_at_the_ends_and_the_middle(
    study: Study, position: float, conversion: str
) -> None:
    found = play_data.led(study, play_data.Choice(position))
    analysed = study.matched.advantage(study.matched.scenarios[0], conversion)
    assert found["led"] == analysed.share_led
    assert found["beyond"] == analysed.share_beyond
    assert found["behind"] == analysed.share_behind
