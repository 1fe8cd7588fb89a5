"""The replication's findings, on logs that are made: what was predicted comes out true, what is not comes out false."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from nfnet.errors import UserError
from nfnet.studies.sweep import Trial, load_study, next_trials, standing
from nfnet.training.run_log import LOG, Header, Metrics, RunLogWriter
from paper.claims import load_claims
from paper.fits.own import read_seconds, read_study
from paper.replication.collect import collect, main
from paper.replication.findings import QUESTIONS, visible
from paper.replication.logs import SPEEDS, Replication
from paper.replication.plan import CPU, FOLDER, GPU, planned
from paper.study import Study

DESIGN = (FOLDER / "design.md").read_text(encoding="utf-8")
EPOCH = 90_000
MACS = {"S3++": 36.8e6, "S1+++": 77.1e6, "S3+++": 144.9e6, "V5+": 68.6e6, "V10+": 136.7e6}
MACS |= {"S0": 1.2e6, "S1": 1.7e6, "S3": 2.8e6, "S1+": 5.4e6, "S1++": 19.8e6, "V0": 1.36e6, "V1": 4.48e6, "V5": 18.6e6}
NOISE = 0.002


@dataclasses.dataclass(frozen=True)
class Truth:
    """What the made runs obey; the defaults are what `design.md` predicts."""

    floor: float = 1.0  # nats
    of_size: float = 0.5  # exponents
    of_data: float = 0.3
    vits: float = 1.15  # factor of their loss above the floor
    overfits: float = 0.04  # what large networks lose at 8 epochs, in log loss
    falls: float = 0.5  # doublings that the best rate falls by a doubling of epochs
    sam: float = 0.009  # of top-1
    repeated: float = 0.0
    swap: float = 0.004  # what S1+ loses of top-1


def loss_of(truth, model, epochs, rate, seed, centre):
    """Held-out loss of a run; the best rate falls with epochs and with size."""
    size, family = MACS[model] / 1e6, truth.vits if model.startswith("V") else 1.0
    # Rounded to the grid, so that a best rate is a rate of the grid.
    ideal = math.log2(centre) - round(truth.falls * math.log2(epochs / 0.25) + 0.4 * math.log2(size))
    off = 0.004 * (math.log2(rate) - ideal) ** 2
    off += truth.overfits * (epochs == 8 and model in ("S1+", "S1++"))
    term = 0.9 * size**-truth.of_size + epochs**-truth.of_data
    noise = NOISE * np.random.default_rng([seed, *model.encode(), round(1000 * epochs * rate)]).normal()
    return (truth.floor + family * 1.1 * term) * math.exp(off + noise)


def write(folder: Path, model, epochs, rate, seed, loss, top1=None):
    macs = round(MACS[model])
    header = Header(
        config={"optimiser": {"learning_rate": rate}}, code="made", packages={}, device="cpu", devices=1, processes=1,
        seed=seed, parameters=round(macs / 8), macs=macs, examples=EPOCH, total_steps=round(epochs * EPOCH / 64),
    )  # fmt: skip
    examples, steps = round(epochs * EPOCH), round(epochs * EPOCH / 64)
    folder.mkdir(parents=True)
    with RunLogWriter(folder / LOG, header) as log:
        flops = 6.0 * macs * examples
        log.metrics(Metrics(steps, examples, epochs, 1.0, flops, held_out_loss=loss, held_out_top1=top1 or 0.3))
        log.end("finished", steps)


def make(root: Path, truth: Truth, plan=CPU) -> None:
    """Writes the logs of all runs, as the studies and what follows them would."""
    for family, path in plan.studies.items():
        study = dataclasses.replace(load_study(path), workdir=str(root / family))
        centre = study.learning_rates.centre

        def run(trial: Trial, folder: Path, seed=0, centre=centre):
            loss = loss_of(truth, trial.model, trial.epochs, trial.learning_rate, seed, centre)
            write(folder, trial.model, trial.epochs, trial.learning_rate, seed, loss)

        while trials := next_trials(study, lambda trial, study=study: standing(study, trial).loss):
            for trial in trials:
                run(trial, root / family / trial.name)
        for one in planned(plan.follows[family], study):
            parts = one.workdir.relative_to(root / one.stage / family).parts
            if one.stage == "fine-tuning":
                model, epochs = parts[0], float(parts[1].partition("_")[2])
                top1 = 1.1 - 0.1 * loss_of(truth, model, epochs, 0.1, 0, 0.1)
                top1 -= truth.swap * (model == "S1+")
                top1 += {"without_sam": -truth.sam, "repeated": truth.repeated}.get(parts[2], 0.0)
                write(one.workdir, model, 2.0, 0.1, 0, 1.0, top1)
            else:
                seed = int(parts[0].partition("_")[2]) if one.stage == "seeds" else 0
                model, epochs, rate = parts[-3], *(float(part.partition("_")[2]) for part in parts[-2:])
                run(Trial(model, epochs, rate), one.workdir, seed)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("replication")
    make(root, Truth())
    return root


@pytest.fixture(scope="module")
def complete(made):
    return Replication.load(made)


def test_the_questions_are_those_of_the_design_and_each_is_a_claim():
    table = DESIGN[DESIGN.index("| finding of the paper") :].split("\n\n")[0].splitlines()[2:]
    assert [row.split("|")[1].strip() for row in table] == list(QUESTIONS)
    claims = [claim for claim in load_claims() if claim.origin == "replication"]
    assert [claim.check for claim in claims] == [f"replication.{find.__name__}" for find in QUESTIONS.values()]


def test_all_runs_are_planned(complete):
    assert (complete.progress.ended == complete.progress.planned).all(), complete.progress
    assert complete.missing("study", "seeds", "fine-tuning", "grids") == 0


LAW, LARGER, GROW, SAME, ONE, RATE, TRIALS, SWAPS, REPEATED, SAM, MATCH = QUESTIONS
SCORES = {
    "as predicted": (
        Truth(),
        {
            "true": (LAW, GROW, SAME, ONE, RATE, TRIALS, SWAPS, REPEATED, SAM, MATCH),
            "false": (LARGER,),  # see below
        },
    ),
    "large networks overfit": (Truth(overfits=0.3), {"true": (LARGER,)}),
    "size before epochs": (
        Truth(floor=2.0, of_size=0.25, of_data=0.45, overfits=0.0),
        {"false": (LAW, SAME, ONE, SWAPS), "not decided": (SAM,)},
    ),
    "size hardly counts": (Truth(of_size=3.0, of_data=0.1, overfits=0.0), {"false": (GROW,)}),
    "families, rates and aids the other way": (
        Truth(vits=0.9, falls=-0.5, sam=-0.01, repeated=0.02),
        {"false": (MATCH, TRIALS, SAM, REPEATED)},
    ),
    "rates fall in leaps": (Truth(falls=2.0), {"false": (RATE, TRIALS)}),
    "swaps beyond the noise": (Truth(swap=0.03), {"false": (SWAPS,)}),
}


@pytest.mark.parametrize("name", SCORES)
def test_findings_follow_the_truth(name, made, complete, tmp_path):
    truth, expected = SCORES[name]
    replication = complete
    if truth != Truth():
        make(tmp_path, truth)
        replication = Replication.load(tmp_path)
    answers = {q: QUESTIONS[q](replication) for questions in expected.values() for q in questions}
    assert {q: answers[q].score for q in answers} == {q: score for score, qs in expected.items() for q in qs}, answers


def test_runs_on_a_gpu_answer_what_is_asked_of_them(tmp_path):
    """What asks of fine-tuning or whole grids is not asked of them; compute is counted in FLOPs alone."""
    make(tmp_path, Truth(), GPU)
    replication = Replication.load(tmp_path, GPU)
    assert (replication.progress.ended == replication.progress.planned).all()
    assert set(replication.progress.stage) == {"study", "seeds"}
    assert list(replication.axes) == ["FLOPs"]
    answers = {question: find(replication) for question, find in QUESTIONS.items()}
    unasked = {question for question, answer in answers.items() if answer.evidence.startswith("Not asked")}
    assert unasked == {TRIALS, SWAPS, REPEATED, SAM}
    assert {answers[question].score for question in (LAW, MATCH, RATE)} == {"true"}, answers
    assert "awaits runs" not in {answer.score for answer in answers.values()}


def test_every_score_is_seen():
    seen = {(question, score) for _, expected in SCORES.values() for score, qs in expected.items() for question in qs}
    assert {question for question, score in seen if score == "true"} == set(QUESTIONS)
    assert {question for question, score in seen if score == "false"} == set(QUESTIONS)


def test_nothing_is_decided_before_all_runs_have_ended(made, tmp_path):
    """One run fewer of each stage, and no question that asks of it is answered."""
    few = tmp_path / "few"
    assert len(collect(made, few)) == len(list(made.rglob(LOG)))
    for stage in ("nfnets", "seeds", "fine-tuning", "grids"):
        sorted((few / stage).rglob(LOG))[0].unlink()
    answers = [find(Replication.load(few)) for find in QUESTIONS.values()]
    assert {answer.score for answer in answers} == {"awaits runs"}
    assert all("not ended yet" in answer.evidence for answer in answers)


def test_noise_is_that_of_the_seeds(complete):
    """Four points with three seeds have eight degrees of freedom: within the 99.9% interval of chi squared."""
    noise = np.array([complete.noise("nfnets"), complete.noise("vits")])
    assert ((noise / NOISE) ** 2 * 8 > 0.857).all()
    assert ((noise / NOISE) ** 2 * 8 < 26.1).all()
    assert visible(complete, "vits") == pytest.approx((1.95996 + 0.84162) * math.sqrt(2) * noise[1], rel=1e-5)


def test_a_run_that_diverged_stays_and_loses(made, tmp_path):
    collect(made, tmp_path)
    path = sorted((tmp_path / "nfnets" / "S0").rglob(LOG))[0]
    lines = path.read_text(encoding="utf-8").replace('"reason": "finished"', '"reason": "diverged"')
    path.write_text(lines, encoding="utf-8")
    replication = Replication.load(tmp_path)
    row = replication.runs[replication.runs.end == "diverged"]
    assert len(row) == 1
    assert row.loss.iloc[0] == math.inf
    assert (replication.progress.ended == replication.progress.planned).all()
    cell = replication.tuned("nfnets")
    assert np.isfinite(cell.loss).all()


def test_collecting_copies_what_has_ended_and_replaces_nothing(made, tmp_path, capsys):
    runs, out = tmp_path / "runs", tmp_path / "out"
    collect(made, runs)
    first, second, *_ = sorted((runs / "vits").rglob(LOG))
    unfinished = first.read_bytes().splitlines(keepends=True)[:-1]
    first.write_bytes(b"".join(unfinished))
    total = len(list(runs.rglob(LOG)))
    assert main([str(runs), "--out", str(out)]) == 0
    assert f"{total - 1} new logs" in capsys.readouterr().out
    assert (out / second.relative_to(runs)).read_bytes() == second.read_bytes()
    assert main([str(runs), "--out", str(out)]) == 0
    assert capsys.readouterr().out.startswith("0 new logs")
    other = sorted((made / "nfnets").rglob(LOG))[0]
    second.write_bytes(other.read_bytes())
    assert main([str(runs), "--out", str(out)]) == 2
    assert "no run is replaced by a second try" in capsys.readouterr().err
    assert main([str(tmp_path / "nowhere"), "--out", str(out)]) == 2


def test_both_axes_are_read_by_the_one_path(made, complete):
    """What a budget costs by FLOPs and by core hours: `paper.fit --study` and the findings agree."""
    seconds = read_seconds(SPEEDS)
    rows, _ = read_study(made / "vits", "core hours", seconds)
    tuned = complete.tuned("vits")
    assert sorted(row.numbers["compute"] for row in rows) == pytest.approx(sorted(tuned.core_hours))
    row = next(row for row in rows if row.model == "V5" and row.numbers["epochs"] == 8)
    assert row.numbers["compute"] == pytest.approx(8 * EPOCH * seconds["V5"] / 3600)
    with pytest.raises(UserError, match="core seconds of an image are not told for model 'V5'"):
        read_study(made / "vits", "core hours", {"V0": 0.001, "V1": 0.001})


@pytest.mark.parametrize("text", ["model\nS0\n", "model,core_seconds_per_1000_images\nS0,fast\n", ""])
def test_speeds_that_are_none_are_told(text, tmp_path):
    path = tmp_path / "speeds.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"speeds\.csv"):
        read_seconds(path)


def test_committed_logs_are_of_committed_code_and_of_the_design():
    """Each names its code, device and seed; each model its speed; no log lies where the plan has no run."""
    runs = Replication.load().runs
    assert len(runs) == len(list(CPU.runs.rglob(LOG))) > 0
    assert not runs.code.str.contains("dirty").any()
    assert set(runs.device) <= {"cpu"}
    assert set(runs[runs.stage == "study"].seed) <= {0}
    trials = {name: load_study(path) for name, path in CPU.studies.items()}
    for run in runs[runs.stage == "study"].itertuples():
        assert run.epochs in trials[run.family].epochs
        assert run.model in trials[run.family].models


def test_the_figure_draws_from_none_some_and_all_runs(complete, made, tmp_path):
    from figures.replication import draw

    centres = {name: load_study(path).learning_rates.centre for name, path in CPU.studies.items()}
    for number, replication in enumerate((complete, Study.load().replication, Replication.load(tmp_path / "none"))):
        draw(replication, centres).savefig(tmp_path / f"{number}.png")
    collect(made, tmp_path / "few")
    for path in (tmp_path / "few").rglob(LOG):
        if "vits" in path.parts or "fine-tuning" in path.parts:
            path.unlink()
    draw(Replication.load(tmp_path / "few"), centres).savefig(tmp_path / "few.png")
