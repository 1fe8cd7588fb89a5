"""The replication is run: its smallest point on digits, and a logged point again where its data are at hand."""

import dataclasses
import math
import os
from pathlib import Path

import pytest

from nfnet import train
from nfnet.studies.sweep import known_trials, load_study, run_arguments, standing
from paper.noise import INTERVAL
from paper.replication.logs import Replication
from paper.replication.plan import CPU
from paper.replication.smoke import EPOCHS, MODEL, smoke

DATA = "REPLICATION_DATA"
"""Environment variable: folder of the decoded images, such as runs/replication/data."""
POINT = ("S0", 0.25, 0.4)  # model, epochs, learning rate


@pytest.mark.long
def test_the_smallest_point_goes_from_images_to_analysis(tmp_path):
    replication = smoke(tmp_path)
    runs = replication.runs
    assert set(runs.stage) == {"study", "fine-tuning"}
    assert (runs.end == "finished").all()
    assert runs.loss.map(math.isfinite).all()
    (tuned,) = replication.tuned("nfnets").itertuples()
    assert (tuned.model, tuned.epochs) == (MODEL, EPOCHS)


@pytest.mark.long
@pytest.mark.skipif(DATA not in os.environ, reason=f"{DATA} does not name the folder of decoded images")
def test_a_logged_point_comes_out_again_within_the_noise_of_seeds(tmp_path):
    noise = Replication.load().noise("nfnets")
    if math.isnan(noise):
        pytest.skip("no seeds have been run yet, so that their noise is not known")
    study = load_study(CPU.studies["nfnets"])
    (trial,) = {t for t in _trials(study) if (t.model, t.epochs, t.learning_rate) == POINT}
    logged = standing(dataclasses.replace(study, workdir=str(CPU.runs / "nfnets")), trial)
    path = {"data.path": str(Path(os.environ[DATA]) / "tiny_imagenet")}
    again = dataclasses.replace(study, workdir=str(tmp_path), overrides={**study.overrides, **path})
    assert train.main(run_arguments(again, trial)) == 0
    ours = standing(again, trial)
    assert abs(math.log(ours.loss / logged.loss)) < INTERVAL * math.sqrt(2) * noise


def _trials(study):
    there = dataclasses.replace(study, workdir=str(CPU.runs / "nfnets"))
    return known_trials(there, lambda trial: standing(there, trial).loss)
