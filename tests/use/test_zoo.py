"""The table of weights that have a name: complete, consistent with the networks, and every number with its source."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from support.tiny_runs import ROOT

from nfnet import UserError
from nfnet.models.families import FAMILIES
from nfnet.models.nfnet import VARIANTS
from nfnet.weights.origins import BY_KEY
from nfnet.weights.zoo import ENTRIES, Preprocessing, find_entry, unknown_weights
from tools.model_table import MODELS, table, updated

PAPER = {"F0": 83.6, "F1": 84.7, "F2": 85.1, "F3": 85.7, "F4": 85.9, "F5": 86.0}  # Brock et al. 2021, Table 3


@pytest.mark.parametrize("name", ENTRIES)
def test_entries_are_of_known_networks_and_say_their_sources(name: str) -> None:
    entry = ENTRIES[name]
    assert entry.variant in FAMILIES[entry.family].variants
    origin = BY_KEY[entry.origin]
    config = FAMILIES[entry.family].config
    assert set(origin.trained_with) <= set(config.__dataclass_fields__)
    assert (entry.repo is None) != (entry.url is None)
    assert entry.address.startswith("https://")
    assert entry.address.endswith(entry.file)
    told = {"licence", "location", "preprocessing", "size", "top1"}
    told |= {key for key in ("md5", "sha256", "bytes") if getattr(entry, key) is not None}
    assert told <= entry.sources.keys()
    assert all(source.startswith("https://") for source in entry.sources.values())


@pytest.mark.parametrize("name", [name for name, entry in ENTRIES.items() if entry.family == "nfnet"])
def test_sizes_are_those_of_the_variants(name: str) -> None:
    entry, config = ENTRIES[name], VARIANTS[ENTRIES[name].variant]
    assert (entry.train_size, entry.test_size) == (config.train_resolution, config.test_resolution)
    assert entry.preprocessing.size == entry.test_size


def test_published_accuracies_are_the_papers() -> None:
    released = {entry.variant: entry.top1 for entry in ENTRIES.values() if entry.origin == "released"}
    assert {key: released[key] for key in PAPER} == PAPER


def test_resized_sides_are_timms_and_deepminds() -> None:
    assert ENTRIES["dm_nfnet_f0.dm_in1k"].preprocessing.resized == 284  # floor(256 / 0.9)
    assert ENTRIES["F0_haiku"].preprocessing.resized == 256 + 32
    assert ENTRIES["vit_base_patch16_224.augreg_in21k_ft_in1k"].preprocessing.resized == 248  # floor(224 / 0.9)


def test_preprocessing_is_checked() -> None:
    with pytest.raises(UserError, match=r"preprocessing\.crop_share"):
        Preprocessing(size=224, mean=(0.5,) * 3, std=(0.5,) * 3, crop_share=1.5)
    with pytest.raises(UserError, match=r"preprocessing\.std"):
        Preprocessing(size=224, mean=(0.5,) * 3, std=(0.0,) * 3)


def test_names_of_the_hub_are_understood() -> None:
    for name in ("timm/dm_nfnet_f0.dm_in1k", "hf-hub:timm/dm_nfnet_f0.dm_in1k"):
        assert find_entry(name) is ENTRIES["dm_nfnet_f0.dm_in1k"]
    assert find_entry("dm_nfnet_f9") is None
    assert "the nearest name is 'dm_nfnet_f0.dm_in1k'" in str(unknown_weights("dm_nfnet_f0"))


def test_names_are_told_without_jax() -> None:
    script = "import sys; from nfnet.weights.find import locate; print('jax' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_the_table_of_the_docs_is_up_to_date() -> None:
    text = MODELS.read_text(encoding="utf-8")
    assert updated(text) == text


def test_the_table_has_what_is_counted_and_published() -> None:
    counts = json.loads((ROOT / "tests/data/golden/manifests/timm_counts.json").read_text())
    (row,) = [row for row in table().splitlines() if "`dm_nfnet_f0.dm_in1k`" in row]
    assert f"{counts['dm_nfnet_f0']['params'] / 1e6:.1f}" in row
    assert "83.5" in row


def test_every_source_is_used() -> None:
    raw = tomllib.loads((Path(ROOT) / "nfnet/weights/zoo.toml").read_text(encoding="utf-8"))
    used = {key for group in raw["groups"].values() for key in group["sources"].values()}
    assert used == raw["sources"].keys()
