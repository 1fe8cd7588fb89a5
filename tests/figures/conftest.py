"""One study and one set of drawn figures for all tests of this folder."""

import pytest
from matplotlib.figure import Figure

from figures import registry
from paper.study import Study


@pytest.fixture(scope="session")
def study() -> Study:
    """The logged results; few resamples, since pictures and not intervals are tested here."""
    return Study.load(resamples=200)


@pytest.fixture(scope="session")
def drawn(study: Study) -> dict[str, Figure]:
    """Every figure. Tests only look at them."""
    return {name: registry.draw(name, study) for name in registry.names()}
