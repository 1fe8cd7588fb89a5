"""Own runs: fitted like the paper's, refused in a sentence, and noted where they mean something else."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from support.simulated import grid_of

from nfnet.errors import UserError
from nfnet.training.run_log import Header, Metrics, RunLogWriter
from paper import fit
from paper.fits.analysis import Analysis
from paper.fits.own import analyse, read_csv, read_seconds, read_study

# Besiroglu et al. 2024, "Chinchilla Scaling: A replication attempt", table 1; and Hoffmann et al. 2022, section D.2.
BESIROGLU = {"irreducible": 1.82, "size_coefficient": 482.0, "data_coefficient": 2085.0}
BESIROGLU |= {"size_exponent": 0.348, "data_exponent": 0.366}
HOFFMANN = {"irreducible": 1.69, "data_coefficient": 410.7, "data_exponent": 0.28}


def table_of(runs, **columns):
    values = {"compute": runs.compute, "loss": runs.value, "model": runs.model, "parameters": runs.parameters}
    return pd.DataFrame(values | {"examples": runs.examples, "epochs": runs.epochs} | columns)


def own_of(table, tmp_path, **settings):
    path = tmp_path / "runs.csv"
    table.to_csv(path, index=False)
    return analyse(*read_csv(path), "runs.csv", **({"compute_unit": "core hours", "resamples": 100} | settings))


@pytest.fixture(scope="module")
def simulated():
    return grid_of(1.6, 1.0, 0.7, 0.6, 0.4, 0.45, noise=0.003)


def test_a_csv_of_the_papers_runs_gives_the_papers_fits(study, tmp_path):
    """One code path: what readings' uncertainty does not enter is equal."""
    loss = study.fits.loss
    own = own_of(table_of(loss.runs), tmp_path, limit=loss.limit, loss_unit="nats").analyses["loss"]
    assert own.runs.model == loss.runs.model
    np.testing.assert_allclose(own.runs.epochs, loss.runs.epochs)
    assert own.law.exponent.value == pytest.approx(loss.law.exponent.value, rel=1e-9)
    assert own.surface.irreducible.value == pytest.approx(loss.surface.irreducible.value, rel=1e-6)
    assert own.general.irreducible.value == pytest.approx(loss.general.irreducible.value, rel=1e-6)
    for method, route in own.optima.items():
        assert route.difference.value == pytest.approx(loss.optima[method].difference.value, rel=1e-5)
        assert route.one_epoch.unit == "core hours"


def test_published_coefficients_lie_in_the_intervals_of_data_made_of_them(tmp_path):
    """On a grid like Hoffmann et al.'s, with the scatter of about 0.7% that their figure's readings have."""
    rng = np.random.default_rng(0)
    compute = np.repeat([6e18, 1e19, 3e19, 6e19, 1e20, 3e20, 6e20, 1e21, 3e21], 27)
    parameters = np.geomspace(5e7, 1.6e10, 27)[None] * np.ones((9, 1))
    parameters = parameters.ravel()
    examples = compute / (6 * parameters)
    p = BESIROGLU
    loss = p["irreducible"] + p["size_coefficient"] * parameters ** -p["size_exponent"]
    loss = (loss + p["data_coefficient"] * examples ** -p["data_exponent"]) * np.exp(0.007 * rng.standard_normal(243))
    keep = (examples > 5 * parameters / 20) & (examples < 20 * 20 * parameters)
    table = pd.DataFrame({"compute": compute, "loss": loss, "parameters": parameters, "examples": examples})[keep]
    own = own_of(table, tmp_path, compute_unit="FLOPs", resamples=500).analyses["loss"]
    assert own.cost.slope == pytest.approx(1)
    for name, value in BESIROGLU.items():
        assert getattr(own.surface, name).contains(value), name
    for name, value in HOFFMANN.items():
        assert not getattr(own.surface, name).contains(value), name


def test_seeds_are_averaged_and_their_spread_is_told(simulated, tmp_path):
    scale = np.exp(0.01)
    low, high = (
        table_of(simulated, seed=seed).assign(loss=lambda t, f=f: t.loss * f)
        for seed, f in ((0, 1 / scale), (1, scale))
    )
    own = own_of(pd.concat([low, high]), tmp_path)
    assert len(own.analyses["loss"].runs) == 36
    assert own.scatter["loss"] == pytest.approx(100 * 0.01 * np.sqrt(2))
    assert any("differs by 1.4%" in note for note in own.notes)
    np.testing.assert_allclose(own.analyses["loss"].runs.value, simulated.value * np.cosh(0.01))
    # Seeds differ in measured compute too.
    jittered = own_of(pd.concat([low, high.assign(compute=high.compute * 1.01)]), tmp_path)
    assert len(jittered.analyses["loss"].runs) == 36


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (
            lambda t: t.assign(loss=t.loss.where(t.index != 3)),
            "Left out of the loss, which is no finite number there: line 5.",
        ),
        (lambda t: t.assign(loss=t.loss.where(t.index != 3, np.inf)), "line 5."),
        (lambda t: pd.concat([t, t.iloc[:1]]), "Averaged, being of one configuration: line 2, line 38."),
        (
            lambda t: t.assign(loss=t.loss.where(t.index != 5, t.loss * 1.2)),
            "With more compute the loss rises somewhere for m0.",
        ),
        (lambda t: t[t.model == "m0"], "One model"),
        (lambda t: t.drop(columns=["examples", "epochs"]), "there is no surface and no optimum"),
        (lambda t: t.assign(loss=t.loss.round(1)), "share their loss with another"),
        (lambda t: t.assign(compute=t.compute * np.where(t.index % 2, 60, 1)), "same units"),
        (lambda t: t.assign(colour="red"), "Not used: column colour."),
        (lambda t: t.assign(parameters=t.parameters.where(t.index != 0)), "Not used: parameters, which line 2 lacks."),
        (lambda t: t.assign(loss=1 + t.compute / 1e6), "No law of the loss: only 1 of 36 configurations"),
    ],
)
def test_what_changes_the_meaning_is_noted(simulated, tmp_path, change, note):
    own = own_of(change(table_of(simulated)), tmp_path)
    assert any(note in one for one in own.notes), own.notes


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty"),
        ("loss,model\n1,a\n", "has no column compute"),
        ("compute;loss\n1;2\n", "separates its cells by ';': separate them by commas"),
        ("compute,model\n1,a\n", "has no column loss"),
        ("compute,loss,loss\n1,1,1\n", "has the column loss twice"),
        ("compute,loss\n1e18 FLOPs,2\n", "line 2: compute is '1e18 FLOPs'; write the number alone, and its unit"),
        ("compute,loss\n1,two\n", "line 2: loss is 'two'; write a number"),
        ("compute,loss\n1,2\n3\n", "line 3: 1 cells under 2 columns"),
        ("compute,loss\n", "has no runs"),
        ("compute,loss\n1,\n2,\n", "no run has a loss or an error"),
        ("compute,error\n1,150\n", "line 2: error is 150, but is a percentage"),
        ("compute,loss\n,2\n", "line 2: compute is empty"),
        ("compute,loss\n0,2\n", "must be above zero"),
        ("compute,loss\n-1,2\n", "must be above zero"),
        ("compute,loss\nnan,2\n", "must be above zero"),
        ("compute,loss\n1,0\n", "must be above zero"),
        ("compute,loss\n1,5\n2,4\n3,3\n4,2\n", "has 4 configurations with a loss"),
        ("compute,loss\n" + "1,5\n" * 9, "has 1 configurations"),
        ("compute,loss\n1,5\n2,nan\n3,nan\n4,nan\n5,nan\n", "has 1 configurations"),
        ("compute,loss,model\n" + "".join(f"7,{i},m{i}\n" for i in range(1, 7)), "all runs have the same compute"),
        ("compute,loss,model,epochs,seed\n" + "1,2,a,1,0\n" * 2, "line 2, line 3 have one configuration and one seed"),
        (
            "compute,loss,model,parameters,epochs\n" + "".join(f"{i},{9 - i},a,{i},{i}\n" for i in range(1, 7)),
            "model 'a' has 1 and 6 parameters",
        ),
        (
            "compute,loss,examples,epochs\n" + "".join(f"{i},{9 - i},{i},{i * i}\n" for i in range(1, 7)),
            "give one data set's runs at a time",
        ),
        ('compute,loss\n"1,2\n', "line 2"),
        ("compute,loss\n1\x1b[2J,2\n", "\\x1b[2J"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(tmp_path, capsys, text, sentence):
    path, out = tmp_path / "runs.csv", tmp_path / "out"
    path.write_text(text)
    assert fit.main([str(path), "--out", str(out)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert sentence in said.err
    assert "\x1b" not in said.err
    assert not out.exists()


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("F0,1\nF0,2\n", "has the model F0 twice"),
        ("F0,nan\n", "of F0 is no time"),
        (f"F0,{'1' * 200_000}\n", "is no CSV"),
        ("", "has no rows"),
    ],
)
def test_bad_seconds_of_models_are_refused(tmp_path, rows, sentence):
    path = tmp_path / "speeds.csv"
    path.write_text(f"model,core_seconds_per_1000_images\n{rows}")
    with pytest.raises(UserError, match=sentence):
        read_seconds(path)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Name either a CSV"),
        (["runs.csv", "--study", "folder"], "Name either a CSV"),
        (["runs.csv", "--resamples", "1"], "--resamples is 1"),
        (["runs.csv", "--fit-up-to", "0"], "--fit-up-to is 0"),
        (["runs.csv", "--seed", "-1"], "--seed is -1"),
        (["missing.csv"], "cannot be read"),
        (["gs://bucket/runs.csv"], "gs:// is not read or written here"),
        (["runs.csv", "--out", "gs://bucket/fits"], "--out is gs:/bucket/fits"),
        (["runs.csv", "--out", "~nobody-of-that-name/fits"], "no such home folder"),
        (["--study", "missing"], "has no log.jsonl below it"),
        (["--study", ".", "--compute-unit", "dollars"], "--compute-unit cannot be 'dollars'"),
    ],
)
def test_bad_arguments_are_refused(tmp_path, monkeypatch, capsys, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    assert fit.main(arguments) == 2
    assert sentence in capsys.readouterr().err


def test_the_smallest_table_gives_laws_alone(tmp_path, capsys):
    path = tmp_path / "runs.csv"
    path.write_text("\ufeff Compute , LOSS\n" + "".join(f"{10.0**i},{3 * 10 ** (-0.1 * i)}\n" for i in range(6)))
    assert fit.main([str(path), "--resamples", "100", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["tables"]) == ["fits", "frontier_laws", "held_out"]
    numbers = {(row["fit"], row["quantity"]): row["value"] for row in found["tables"]["fits"]}
    assert numbers["loss on the frontier, A C^-a", "a"] == pytest.approx(0.1)
    assert numbers["loss on the frontier, A C^-a", "A"] == pytest.approx(3)
    assert any("unit of compute is unknown" in note for note in found["notes"])


def test_many_runs_are_resampled_less_and_announced(tmp_path, capsys, monkeypatch):
    assert [fit.resamples_of(runs) for runs in (1, 36, 1_000, 2_000, 10**6)] == [2_000, 2_000, 2_000, 1_000, 100]
    seen = []
    monkeypatch.setattr(fit, "_LONG", 15 * 120)
    path = tmp_path / "runs.csv"
    path.write_text("compute,loss\n" + "".join(f"{10.0**i},{3 * 10 ** (-0.1 * i)}\n" for i in range(15)))
    monkeypatch.setattr("paper.fits.own.analyse", lambda *_, resamples, **__: seen.append(resamples))
    for given in ([], ["--resamples", "120"], ["--resamples", "119"]):
        fit.own_of(fit.arguments_of(fit.parser("fit", ""), [str(path), *given]))
    assert seen == [2_000, 120, 119]
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(";")[0] for line in said] == [f"fitting 15 runs in {n} resamples" for n in ("2,000", "120")]


def test_tables_are_printed_and_written(simulated, tmp_path, capsys):
    path, out = tmp_path / "runs.csv", tmp_path / "out"
    table_of(simulated, error=10 * simulated.value).to_csv(path, index=False)
    assert fit.main([str(path), "--compute-unit", "GPU hours", "--resamples", "100", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    names = {"fits", "frontier_laws", "surface_forms", "allocation", "regret", "held_out"}
    assert {file.stem for file in out.iterdir()} == names
    assert len(list(out.iterdir())) == 3 * len(names)
    for name in names:
        assert (out / f"{name}.md").read_text() in said
    assert "GPU hours" in said
    assert "compute at one epoch" in said
    assert "error on the frontier" in said


def test_tokens_without_epochs_have_no_epoch(simulated, tmp_path):
    own = own_of(table_of(simulated).drop(columns="epochs"), tmp_path)
    assert np.isnan(own.analyses["loss"].runs.epoch)
    text = fit.report(replace(own, analyses={"loss": own.analyses["loss"]}))
    assert "exponent of examples" in text
    assert "epoch" not in text


def test_models_are_told_by_size_where_they_have_no_name(simulated, tmp_path):
    own = own_of(table_of(simulated).drop(columns="model"), tmp_path).analyses["loss"]
    assert own.runs.has_curves
    assert own.run_optima.keys() == Analysis(simulated, 100, 0, 0, 1e4).run_optima.keys()


def logged(folder, parameters, epochs, loss, *, end="finished", device="cpu"):
    folder.mkdir(parents=True)
    header = Header({}, "code", {}, device, 1, 1, 0, parameters, 10**6, 1000, 100)
    with RunLogWriter(folder / "log.jsonl", header) as log:
        hours = parameters * epochs / 1e6
        metrics = Metrics(100, int(1000 * epochs), epochs, 3600 * hours, 7 * hours)
        log.metrics(replace(metrics, held_out_loss=loss, held_out_top1=0.75))
        log.end(end, 100)


def test_a_study_is_read_from_its_logs(tmp_path):
    for size in (1, 2, 4, 8):
        for epochs in (1.0, 2.0, 4.0):
            loss = 1 + 1 / size**0.5 + 1 / epochs**0.5
            for rate, worse in ((0.1, 0.0), (0.2, 0.3)):
                logged(tmp_path / f"m{size}/epochs_{epochs:g}/lr_{rate}", size * 10**6, epochs, loss + worse)
    logged(tmp_path / "m1/epochs_8/lr_0.1", 10**6, 8.0, 9.0, end="diverged", device="tpu")
    rows, notes = read_study(tmp_path, "core hours")
    assert len(rows) == 12
    assert any("m1/epochs_8/lr_0.1" in note for note in notes)
    own = analyse(rows, notes, "study", compute_unit="core hours", resamples=100)
    runs = own.analyses["loss"].runs
    np.testing.assert_allclose(runs.compute, runs.parameters / 1e6 * runs.epochs)
    assert runs.model[0] == "m1"
    assert runs.value.max() == pytest.approx(3)  # the better rate
    assert own.analyses["loss"].general.free == 6
    np.testing.assert_allclose(own.analyses["error"].runs.value, 25)
    flops, _ = read_study(tmp_path, "FLOPs")
    assert flops[0].numbers["compute"] == pytest.approx(7 * rows[0].numbers["compute"])


def test_a_damaged_log_is_refused(tmp_path, capsys):
    logged(tmp_path / "m/epochs_1/lr_1", 10**6, 1.0, 2.0)
    (tmp_path / "m/epochs_1/lr_1/log.jsonl").write_text("{}\n")
    assert fit.main(["--study", str(tmp_path)]) == 2
    assert "log.jsonl, line 1" in capsys.readouterr().err


def test_no_optimum_is_told_where_there_is_none(simulated, tmp_path, capsys):
    """The largest network is always worse, as where few data are overfitted; and then a ladder of size and data."""
    sizes, epochs = np.meshgrid(np.geomspace(1e6, 64e6, 4), [1.0, 2.0, 4.0, 8.0, 16.0])
    size, epoch = sizes.ravel(), epochs.ravel()
    loss = 1.2 + 2 / epoch**0.6 + 0.06 * np.log(size / 1e6)
    loss *= np.exp(0.003 * np.random.default_rng(0).standard_normal(size.size))
    table = pd.DataFrame({"compute": 6 * size * epoch * 5e4, "loss": loss, "parameters": size, "examples": epoch * 5e4})
    own = own_of(table, tmp_path)
    assert any("no split of compute" in note for note in own.notes)
    assert not {"surface", "general"} & own.analyses["loss"].optima.keys()
    assert "compute-optimal" not in fit.report(own)
    assert {made.name for made in fit.tables(own)}.isdisjoint({"allocation", "regret"})

    size = np.geomspace(1e7, 1e9, 12)
    table = pd.DataFrame({"parameters": size, "examples": 20 * size, "compute": 120 * size**2})
    own = own_of(table.assign(loss=1.7 + 400 / size**0.34 + 1000 / (20 * size) ** 0.37), tmp_path)
    assert any("grow together" in note for note in own.notes)
    assert "compute-optimal" not in fit.report(own)
    assert own.analyses["loss"].has_law


def test_of_several_learning_rates_the_best_counts(simulated, tmp_path):
    """As in a study's logs and in the paper; not their mean, which would mix bad rates into the law."""
    plain = own_of(table_of(simulated), tmp_path).analyses["loss"]
    swept = [table_of(simulated, learning_rate=rate).assign(loss=lambda t, f=f: t.loss * f)
             for rate, f in ((0.1, 1.05), (0.2, 1.0), (0.4, 1.03))]  # fmt: skip
    own = own_of(pd.concat(swept), tmp_path)
    np.testing.assert_allclose(own.analyses["loss"].runs.value, plain.runs.value)
    assert any("learning rate of the lowest loss" in note for note in own.notes)
    assert not own.scatter


def test_seeds_of_other_compute_are_told(simulated, tmp_path):
    low, high = (table_of(simulated, seed=seed) for seed in (0, 1))
    own = own_of(pd.concat([low, high.assign(compute=high.compute * 3)]), tmp_path)
    assert any("compute differs 3-fold" in note for note in own.notes)


def test_errors_that_look_like_shares_are_noted(simulated, tmp_path):
    shares = table_of(simulated).assign(error=lambda t: t.loss / 10).drop(columns="loss")
    assert any("multiply them by 100" in note for note in own_of(shares, tmp_path).notes)
    percent = shares.assign(error=lambda t: 100 * t.error)
    assert not any("multiply" in note for note in own_of(percent, tmp_path).notes)
