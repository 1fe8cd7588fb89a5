"""Planted changes of the data under which each claim gets another verdict: a check that none can move is no check.

Each group of claims has a table of changes. What no published number can decide is listed with the reason.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pandas as pd
import pytest

from paper.checks import architecture, pretraining
from paper.claims import disagreements, evaluate, load_claims
from paper.experiments.clipping import clipping
from paper.experiments.propagation import propagation
from paper.fits import analysis
from paper.results import MODELS, Results
from paper.study import Study

Change = Callable[[Results, pytest.MonkeyPatch], Results]
RESAMPLES, SEED = 200, 1


def table(name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Change:
    """A change of one table of the results."""

    def planted(results: Results, _: pytest.MonkeyPatch) -> Results:
        return dataclasses.replace(results, **{name: change(getattr(results, name).copy())})

    return planted


def cell(name: str, column: str, value: float, **where: object) -> Change:
    """A change of one column in the rows that have the given values in other columns."""

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        rows = np.logical_and.reduce([frame[key] == wanted for key, wanted in where.items()])
        assert rows.any(), where
        frame[column] = frame[column].astype(type(value))
        frame.loc[rows, column] = value
        return frame

    return table(name, change)


def measured(module: object, name: str, change: Callable[[], object]) -> Change:
    """A change of what a check measures or knows beside the results."""

    def planted(results: Results, monkeypatch: pytest.MonkeyPatch) -> Results:
        altered = change()
        monkeypatch.setattr(module, name, lambda: altered)
        return results

    return planted


def loss_of(change: Callable[[pd.DataFrame], pd.Series]) -> Change:
    """Another loss for every run of Figure 2."""
    return table("pretraining", lambda frame: frame.assign(jft4b_val_loss=change(frame)))


def error_of(change: Callable[[pd.DataFrame], pd.Series]) -> Change:
    """Another error for every run of Figure 1."""
    return table("finetuning", lambda frame: frame.assign(imagenet_top1_error_percent=change(frame)))


def signal(inputs: str, change: Callable[[pd.DataFrame], pd.Series]) -> Change:
    """Another variance along the network for one kind of inputs."""

    def altered() -> pd.DataFrame:
        frame = propagation().copy()
        rows = frame.inputs == inputs
        frame.loc[rows, "variance"] = change(frame[rows])
        return frame

    return measured(architecture, "propagation", altered)


def _mirrored(frame: pd.DataFrame) -> pd.Series:
    """The loss of the opposite model, so that the smallest is the best."""
    other = dict(zip(MODELS, reversed(MODELS), strict=True))
    losses = frame.set_index(["model", "epochs"]).jft4b_val_loss
    return pd.Series([losses[other[m], e] for m, e in zip(frame.model, frame.epochs, strict=True)])


def _surface(size: float, epochs: float, floor: float = 1.6, scatter: float = 0.002) -> Callable[..., pd.Series]:
    """Losses of an additive surface, with a given power of size and of epochs."""

    def change(frame: pd.DataFrame) -> pd.Series:
        from paper.family import nfnet_family

        parameters = frame.model.map(nfnet_family().parameters).to_numpy(float) / 3e8
        noise = 1 + scatter * np.random.default_rng(0).standard_normal(len(frame))
        return pd.Series((floor + 0.45 * (parameters**-size + frame.epochs.to_numpy() ** -epochs)) * noise)

    return change


def _bent(frame: pd.DataFrame) -> pd.Series:
    """The loss, above itself where compute is small or large."""
    x = np.log(frame.tpu_v4_core_hours)
    return frame.jft4b_val_loss * (1 + 0.01 * (x - x.mean()) ** 2)


def _straight(frame: pd.DataFrame) -> pd.Series:
    """Errors of one power of compute."""
    noise = 1 + 0.003 * np.random.default_rng(0).standard_normal(len(frame))
    return 21 * frame.tpu_v4_core_hours**-0.07 * noise


def _variants(**depths: tuple[int, ...]) -> Change:
    def planted(results: Results, monkeypatch: pytest.MonkeyPatch) -> Results:
        known = pretraining.VARIANTS
        changed = {name: dataclasses.replace(known[name], depths=depth) for name, depth in depths.items()}
        monkeypatch.setattr(pretraining, "VARIANTS", {**known, **changed})
        return results

    return planted


def error_like_loss(results: Results, monkeypatch: pytest.MonkeyPatch) -> Results:
    """Errors in the order of the losses."""
    losses = results.pretraining.set_index(["model", "epochs"]).jft4b_val_loss
    change = error_of(lambda t: pd.Series([4 * losses[m, e] for m, e in zip(t.model, t.epochs, strict=True)]))
    return change(results, monkeypatch)


F7PLUS = {"model": "F7+", "epochs": 8.0}
TUNED = {**F7PLUS, "repeated_augmentation": False}
REPEATED = {**F7PLUS, "repeated_augmentation": True}

PRETRAINING: Mapping[str, Change] = {
    "compute-range": cell("pretraining", "tpu_v4_core_hours", 147_000, **F7PLUS),
    "text-110k-hours": cell("pretraining", "tpu_v4_core_hours", 90_000, **F7PLUS),
    "epoch-budgets": cell("pretraining", "epochs", 3.0, model="F0", epochs=2.0),
    "depth-doubles": _variants(F1=(2, 4, 12, 7)),
    "plus-is-wider": _variants(**{"F7+": (8, 16, 48, 25)}),
    "compute-doubles": cell("pretraining", "tpu_v4_core_hours", 4_200, model="F0", epochs=2.0),
    "compute-rounded": table(
        "readings",
        lambda t: t.assign(tpu_v4_core_hours_measured=t.tpu_v4_core_hours_measured + 61.8 * np.arange(len(t)) % 100),
    ),
    "utilisation-constant": cell("pretraining", "tpu_v4_core_hours", 4_200, model="F0", epochs=2.0),
    "loss-falls": cell("pretraining", "jft4b_val_loss", 2.84, model="F0", epochs=2.0),
    "larger-is-better": loss_of(_mirrored),
    "loss-loglog-linear": loss_of(_bent),
    "loss-exponent": loss_of(lambda t: t.jft4b_val_loss.clip(lower=2.52 + 1e-6 * (1e5 - t.tpu_v4_core_hours))),
    "loss-irreducible": loss_of(_surface(0.03, 0.03, floor=0.0)),
    "size-grows": loss_of(_mirrored),
    "epochs-grow": loss_of(_surface(0.5, 0.02)),
    "same-rate": loss_of(_surface(0.3, 0.3)),
    "as-for-language-models": table(
        "language_exponents", lambda t: t.assign(data_exponent_low=0.26, data_exponent_high=0.28)
    ),
    "one-epoch-at-5k": cell("text", "value", 20_000.0, quantity="pretrain.compute_where_optimal_epochs_exceed_one"),
    "f7plus-not-smooth": cell("pretraining", "jft4b_val_loss", 2.70, model="F0", epochs=2.0),
    "error-irreducible": error_of(_straight),
    "error-exponent": error_of(_straight),
}

LEARNING_RATE: Mapping[str, Change] = {
    "learning-rate-small-budgets": cell("learning_rates", "optimal_learning_rate", 0.8, model="F0", epochs=0.5),
    "learning-rate-grid": cell("learning_rates", "optimal_learning_rate", 0.9, model="F0", epochs=8.0),
    "learning-rate-falls-with-epochs": cell("learning_rates", "optimal_learning_rate", 0.4, model="F0", epochs=2.0),
    "learning-rate-falls-with-size": cell("learning_rates", "optimal_learning_rate", 0.8, model="F7+", epochs=8.0),
    "learning-rate-falls-faster-for-large": cell(
        "learning_rates", "optimal_learning_rate", 0.1, model="F0", epochs=8.0
    ),
    "learning-rate-two-trials": cell("learning_rates", "optimal_learning_rate", 0.05, model="F7+", epochs=8.0),
}

FINETUNING: Mapping[str, Change] = {
    "same-compute-in-figures-1-and-2": cell(
        "finetuning", "tpu_v4_core_hours", 6_000, model="F1", epochs=2.0, repeated_augmentation=False
    ),
    "top1-improves-with-compute": cell(
        "finetuning", "imagenet_top1_error_percent", 13.5, model="F1", epochs=2.0, repeated_augmentation=False
    ),
    "f7plus-90.3": cell("finetuning", "imagenet_top1_error_percent", 9.5, **TUNED),
    "f7plus-90.4-repeated-augmentation": cell("finetuning", "imagenet_top1_error_percent", 9.75, **REPEATED),
    "repeated-augmentation-helps": cell("finetuning", "imagenet_top1_error_percent", 9.2, **REPEATED),
    "finetuning-cost": cell("text", "value", 16_000.0, quantity="finetune.f7plus_8_epochs.compute"),
    "lowest-loss-not-best": error_of(lambda t: 21 * t.tpu_v4_core_hours**-0.07),
    "finetuning-favours-larger": error_like_loss,
    "better-than-without-extra-data": cell(
        "text", "value", 90.3, quantity="finetune.best_nfnet_without_extra_data.top1"
    ),
}

ARCHITECTURE: Mapping[str, Change] = {
    "table3-counts": cell("nfnet_imagenet", "params_m", 71.6, model="NFNet-F0"),
    "plus-is-published-width": cell("nfnet_extra_data", "gmacs", 333.0, model="NFNet-F4+ (JFT-300M)"),
    "utilisation-decides-plus": table(
        "pretraining",
        lambda t: t.assign(tpu_v4_core_hours=t.tpu_v4_core_hours * np.where(t.model.str.endswith("+"), 1.1, 1.0)),
    ),
    "variance-as-expected": signal("uniform", lambda t: t.expected),
    "variance-grows-within-stages": signal("uniform", lambda t: pd.Series(1.0, t.index)),
    "pooling-takes-noise": signal("noise", lambda t: t.expected),
    "clipping-stabilises": measured(
        architecture,
        "clipping",
        lambda: dataclasses.replace(clipping(), losses=clipping().losses.assign(without=1.0)),
    ),
    "accuracy-grows-with-latency": cell("nfnet_imagenet", "imagenet_top1_percent", 85.0, model="NFNet-F3"),
}

# Claims whose check is in paper/checks/vits.py.
VITS: Mapping[str, Change] = {
    "vit-text-against-plot-compute": cell("vits", "tpu_v4_core_hours_plotted", 150_000, model="ViT-g/14"),
    "vit-text-against-plot-accuracy": cell("vits", "imagenet_top1_error_percent_plotted", 9.7, model="ViT-g/14"),
    "matches-vits": cell("vits", "imagenet_top1_error_percent_plotted", 8.8, model="ViT-g/14"),
    "matches-vits-without-repeated-augmentation": cell(
        "vits", "imagenet_top1_error_percent_plotted", 8.8, model="ViT-g/14"
    ),
    "competitive-with-G14": cell("vits", "imagenet_top1_error_percent_plotted", 8.8, model="ViT-G/14"),
    "no-strong-evidence-for-vits": cell("vits", "imagenet_top1_error_percent_plotted", 8.8, model="ViT-g/14"),
    "nfnets-better-on-v4": cell("text", "value", 300_000.0, quantity="vit.G14.tpu_v4"),
    "v4-doubles-v3": cell("hardware", "peak_bf16_tflops_per_chip", 275.0, accelerator="TPU-v3"),
    "same-pretraining-data": table("vits", lambda t: t.assign(pretraining_dataset="JFT-4B")),
    "f7plus-250-hours-on-v3": cell("text", "value", 250_000.0, quantity="hardware.f7plus_8_epochs_on_v3_as_printed"),
}

# Claims whose check is in paper/checks/vit_sweep.py.
SOVIT = {"model": "SoViT-400m/14"}


def sweep_better(points: float) -> Change:
    """Every run of the sweep of Vision Transformers with so many points less error."""
    return table(
        "vit_finetuning",
        lambda t: t.assign(
            imagenet_top1_percent=t.imagenet_top1_percent + points,
            imagenet_top1_error_percent_figure2=t.imagenet_top1_error_percent_figure2 - points,
        ),
    )


VIT_SWEEP: Mapping[str, Change] = {
    "g14-hours-credited-to-zhai": cell("text", "value", 260_000.0, quantity="vit.g14.tpu_v3"),
    "largest-vit-over-500k-hours": cell("text", "value", 700_000.0, quantity="vit.G14.tpu_v3"),
    "sovit-230k-hours": cell("sovit_compute", "tpu_v3_core_hours", 260_000, **SOVIT),
    "conversion-routes-agree": cell("vit_models", "gflops_224", 200.0, model="ViT-L/16"),
    "nfnets-lead-sweep": cell("vit_finetuning", "imagenet_top1_percent", 92.0, model="ViT-L/16"),
    "nfnets-lead-sweep-jft-3b": cell(
        "vit_finetuning", "imagenet_top1_percent", 92.0, model="ViT-L/16", pretrain_dataset="JFT-3B"
    ),
    "nfnets-lead-sweep-384": cell("vit_finetuning", "imagenet_top1_percent", 92.0, model="ViT-L/16"),
    "nfnets-lead-sweep-flops": cell("vit_models", "gflops_224", 50.0, model="ViT-g/14"),
    "nfnets-lead-sweep-total-flops": cell("vit_models", "gflops_224", 50.0, model="ViT-g/14"),
    "nfnets-lead-sweep-interpolated": sweep_better(0.5),
    "nfnets-lead-later-points": cell("vits", "tpu_v3_core_hours_text", 100_000, **SOVIT),
    "nfnets-lead-later-points-stated": cell("vits", "tpu_v4_core_hours_text", 60_000, **SOVIT),
    "nfnets-lead-later-points-384": cell("vits", "tpu_v3_core_hours_text", 60_000, **SOVIT),
    "nfnets-lead-later-points-flops": cell(
        "sovit_table", "gflops_per_image_at_resolution", 50.0, finetune_resolution=224, **SOVIT
    ),
    "vits-lead-beyond-nfnets": cell("vits", "imagenet_top1_accuracy_percent_text", 91.0, model="ViT-G/14"),
    "no-single-model-decides": error_of(lambda t: t.imagenet_top1_error_percent - 1),
    "fitted-frontiers-differ": sweep_better(1.0),
    "fitted-frontiers-differ-flops": sweep_better(1.5),
    "fitted-frontiers-differ-at-the-dearest": error_of(lambda t: t.imagenet_top1_error_percent - 3),
    "printed-law-of-sweep": table("vit_laws", lambda t: t.assign(exponent=t.exponent * 0.8)),
    "nfnets-lead-inference-sweep": cell("vit_finetuning", "imagenet_top1_percent", 92.0, model="ViT-B/16"),
    "inference-divided": table(
        "sovit_table",
        lambda t: t.assign(imagenet_top1_percent=t.imagenet_top1_percent - 3 * (t.model == "SoViT-400m/14")),
    ),
}

UNDECIDABLE: Mapping[str, str] = {
    "pipeline-explains-roughness": "neither the input pipeline nor the restarts were published",
    "near-duplicates-removed": "JFT-4B is not public",
    "learning-rate-others-alike": "optima of three of the models were not published",
    "finetuning-favours-larger-learning-rates": "learning rates of the checkpoints were not published",
    "bitter-lesson": "no second design was trained",
    "vits-practical-elsewhere": "an opinion, for which the paper has no experiment",
    "robust-test-sets": "no NFNet of the paper was evaluated on them",
}

PLANTED: Mapping[str, Change] = {**PRETRAINING, **LEARNING_RATE, **FINETUNING, **ARCHITECTURE, **VITS, **VIT_SWEEP}
CLAIMS = {claim.id: claim for claim in load_claims()}


@pytest.fixture(scope="module", autouse=True)
def _few_simulations() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(analysis, "_SIMULATIONS", 60)
        patch.setattr(analysis, "_INNER", 40)
        yield


@pytest.fixture(scope="module")
def quick(results: Results) -> Study:
    """The study with few resamples: under it, too, each claim that is tested here has its recorded verdict."""
    return Study.of(results, resamples=RESAMPLES, seed=SEED)


def test_every_claim_has_a_planted_change_or_a_reason_for_none() -> None:
    groups = (PRETRAINING, LEARNING_RATE, FINETUNING, ARCHITECTURE, VITS, VIT_SWEEP, UNDECIDABLE)
    named = [claim for group in groups for claim in group]
    # Those about our own runs have their planted truths in test_replication_findings.py.
    assert sorted(named) == sorted(name for name, claim in CLAIMS.items() if claim.origin != "replication")


@pytest.mark.parametrize("claim_id", list(PLANTED))
def test_a_planted_change_moves_the_verdict(results, quick, claim_id, monkeypatch):
    claim = CLAIMS[claim_id]
    assert disagreements(evaluate(quick, [claim])) == []
    changed = Study.of(PLANTED[claim_id](results, monkeypatch), resamples=RESAMPLES, seed=SEED)
    (item,) = evaluate(changed, [claim])
    assert not item.agrees, item.outcome


@pytest.mark.parametrize("claim_id", list(UNDECIDABLE))
def test_what_no_number_can_decide_is_recorded_as_open(claim_id):
    assert CLAIMS[claim_id].verdict == "cannot be decided from what was published"
    assert CLAIMS[claim_id].caveat


FLIPS: Mapping[str, tuple[Change, set[str]]] = {
    "nothing": (table("pretraining", lambda t: t), set()),
    "F7+ fine-tunes worse": (cell("finetuning", "imagenet_top1_error_percent", 9.90, **TUNED), {"f7plus-90.3"}),
    "repeated augmentation hurts": (
        cell("finetuning", "imagenet_top1_error_percent", 10.2, **REPEATED),
        {"f7plus-90.4-repeated-augmentation", "repeated-augmentation-helps"},
    ),
    "one optimum off the grid": (
        cell("learning_rates", "optimal_learning_rate", 0.9, model="F0", epochs=8.0),
        {"learning-rate-grid"},
    ),
    "the figures disagree on compute": (
        cell("finetuning", "tpu_v4_core_hours", 6_000, model="F1", epochs=2.0, repeated_augmentation=False),
        {"same-compute-in-figures-1-and-2", "compute-doubles", "utilisation-constant"},
    ),
    "readings that are not round": (PRETRAINING["compute-rounded"], {"compute-rounded"}),
    "the last printed digit of a loss": (
        cell("pretraining", "jft4b_val_loss", 2.749, model="F0", epochs=2.0),
        set(),
    ),
}


@pytest.mark.parametrize("name", list(FLIPS))
def test_a_planted_change_moves_the_right_verdicts_and_no_others(results, name, monkeypatch):
    change, expected = FLIPS[name]
    own = {**PRETRAINING, **LEARNING_RATE, **FINETUNING, **ARCHITECTURE}
    claims = [claim for claim in CLAIMS.values() if claim.id in own and not claim.resampled]
    study = Study.of(change(results, monkeypatch), resamples=0)
    assert {item.claim.id for item in disagreements(evaluate(study, claims))} == expected


_HOURS = {"compute-doubles", "utilisation-constant"}
_RATES = {"learning-rate-falls-with-epochs", "learning-rate-falls-with-size", "learning-rate-two-trials"}
_BEST = {"f7plus-90.3", "f7plus-90.4-repeated-augmentation"}

ALSO: Mapping[str, set[str]] = {
    "compute-range": {*_HOURS, "same-compute-in-figures-1-and-2", "text-110k-hours", "loss-loglog-linear"},
    "text-110k-hours": {*_HOURS, "same-compute-in-figures-1-and-2", "compute-range"},
    "epoch-budgets": {*_HOURS, "f7plus-not-smooth"},
    "depth-doubles": set(),
    "plus-is-wider": set(),
    "compute-doubles": {"utilisation-constant"},
    "compute-rounded": set(),
    "utilisation-constant": {"compute-doubles"},
    "loss-falls": {"f7plus-not-smooth"},
    "larger-is-better": {"f7plus-not-smooth"},
    "as-for-language-models": set(),
    "one-epoch-at-5k": set(),
    "learning-rate-small-budgets": _RATES,
    "learning-rate-grid": set(),
    "learning-rate-falls-with-epochs": _RATES - {"learning-rate-falls-with-epochs"},
    "learning-rate-falls-with-size": {*_RATES, "learning-rate-falls-faster-for-large"},
    "learning-rate-falls-faster-for-large": _RATES,
    "learning-rate-two-trials": {*_RATES, "learning-rate-falls-faster-for-large"},
    "same-compute-in-figures-1-and-2": _HOURS,
    "top1-improves-with-compute": set(),
    "f7plus-90.3": set(),
    "f7plus-90.4-repeated-augmentation": set(),
    "repeated-augmentation-helps": {"f7plus-90.4-repeated-augmentation"},
    "finetuning-cost": set(),
    "lowest-loss-not-best": _BEST,
    "finetuning-favours-larger": {*_BEST, "lowest-loss-not-best"},
    "better-than-without-extra-data": set(),
}
"""Other claims about the NFNets' runs whose verdict a change planted for one of them has to move as well."""


@pytest.mark.slow
@pytest.mark.parametrize("claim_id", list(ALSO))
def test_the_cross_table_of_planted_changes_and_verdicts(results, claim_id, monkeypatch):
    own = {**PRETRAINING, **LEARNING_RATE, **FINETUNING}
    surfaces = {"loss-irreducible", "error-irreducible"}
    claims = [claim for claim in CLAIMS.values() if claim.id in own.keys() - surfaces and not claim.resampled]
    study = Study.of(PLANTED[claim_id](results, monkeypatch), resamples=0)
    moved = {item.claim.id for item in disagreements(evaluate(study, claims))}
    assert moved - {claim_id} == ALSO[claim_id] - {claim_id}
