"""Tables: their numbers are the data's, in three formats, and bad input leaves what exists."""

import io

import pandas as pd
import pytest

from paper.tables import TABLES, Table, compose, write_all
from paper.tables.__main__ import main
from paper.vits.conversion import ACCOUNTINGS, hours_ratio


@pytest.mark.parametrize("name", list(TABLES))
def test_csv_holds_unrounded_values_and_text_formats_hold_every_row(study, name):
    table = TABLES[name](study)
    assert table.name == name
    again = pd.read_csv(io.StringIO(table.csv()))
    assert len(again) == len(table.frame)
    assert sum(line.startswith("|") for line in table.markdown().splitlines()) == len(table.frame) + 2
    assert table.latex().count(r"\\") == len(table.frame) + 1
    assert r"\label{tab:" + name in table.latex()
    assert not table.formatted().isna().any().any()
    assert "nan" not in table.markdown()


def test_runs_name_file_and_line_of_each_number(study, results):
    from paper.provenance import DATA

    frame = TABLES["runs"](study).frame
    assert len(frame) == 36
    assert frame.imagenet_top1_error_percent.notna().sum() == 25
    assert frame.imagenet_top1_error_percent_repeated_augmentation.notna().sum() == 1
    assert frame.optimal_learning_rate.notna().sum() == 18
    for row in frame.to_dict("records"):
        for source in row["sources"].split("; "):
            file, line = source.split(":")
            cells = (DATA / file).read_text().splitlines()[int(line) - 1].split(",")
            assert cells[0] == row["model"]
            assert float(cells[1]) == row["epochs"]


def test_vit_sweep_holds_each_run_with_its_line(study):
    from paper.provenance import DATA

    frame = TABLES["vit_sweep"](study).frame
    assert len(frame) == 261
    lines = (DATA / "zhai2022_finetune.csv").read_text().splitlines()
    columns = lines[0].split(",")
    for row in frame.to_dict("records"):
        file, line = row["file"].split(":")
        assert file == "zhai2022_finetune.csv"
        cells = dict(zip(columns, lines[int(line) - 1].split(","), strict=True))
        assert (cells["model"], cells["source"]) == (row["model"], row["source"])
        assert float(cells["tpu_v3_core_days_figure2"]) * 24 == pytest.approx(row["tpu_v3_core_hours"])
        printed = cells["imagenet_top1_percent"]
        error = 100 - float(printed) if printed else float(cells["imagenet_top1_error_percent_figure2"])
        assert row["imagenet_top1_error_percent"] == pytest.approx(error)


def test_conversion_and_scenarios_are_those_of_the_comparison(study):
    conversion = TABLES["vit_conversion"](study)
    assert len(conversion.frame) == 4
    for accounting in ACCOUNTINGS:
        ratio = hours_ratio(study.results, accounting)
        assert (
            f"{accounting!r} a TPU-v3 hour is {ratio.mid:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]" in conversion.caption
        )
    pd.testing.assert_frame_equal(TABLES["vit_scenarios"](study).frame, study.matched.table)
    assert len(TABLES["vit_sensitivity"](study).frame) == len(study.matched.sensitivity)


def test_family_has_the_published_counts(study):
    frame = TABLES["nfnet_family"](study).frame
    brock = study.results.nfnet_imagenet
    for row in brock[~brock.model.str.contains("SAM")].to_dict("records"):
        mine = frame[frame.variant == row["model"].removeprefix("NFNet-")].iloc[0]
        assert round(mine.parameters, 1) == row["params_m"]
        assert round(mine.gmacs_test, 2) == row["gmacs_at_test"]
        assert mine.depths == row["depth"]
    assert len(frame) == 24


def test_fits_cover_every_estimate_with_ordered_intervals(study):
    frame = TABLES["fits"](study).frame
    assert (frame.low <= frame.value).all()
    assert (frame.value <= frame.high).all()


def test_latex_escapes_and_markdown_pipes():
    table = Table("t", "Caption.", pd.DataFrame({"a": ["50% & |x|"]}), {"a": "A"})
    assert r"50\% \& " in table.latex()
    assert r"\|x\|" in table.markdown()


def test_write_all_twice_is_identical_and_bad_data_leaves_files(loaded, tmp_path, data, capsys):
    paths = write_all(compose(loaded), tmp_path / "tables")
    assert len(paths) == 3 * len(TABLES)
    before = {path: path.read_bytes() for path in paths}
    assert write_all(compose(loaded), tmp_path / "tables") == paths
    assert {path: path.read_bytes() for path in paths} == before
    (data / "smith2023_figure1.csv").write_text("model\n")
    assert main(["--data", str(data), "--out", str(tmp_path / "tables")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert {path: path.read_bytes() for path in paths} == before
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert main(["--out", str(blocked)]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_tables_of_fits_are_those_of_the_study(study):
    loss = study.fits.loss
    forms = TABLES["surface_forms"](study).frame.set_index(["form", "loss"])
    assert forms.loc[("general", "squares"), "irreducible"] == loss.general.irreducible.value
    assert forms.loc[("additive", "Huber, 0.001"), "irreducible"] == loss.surface.irreducible.value
    routes = TABLES["allocation"](study).frame.set_index("route")
    assert list(routes.index) == list(loss.optima)
    assert routes.loc["frontier", "bias_equal"] == loss.allocation.routes["frontier"].bias["equal rates"]
    assert routes.unbiased.eq("yes").to_dict() == {m: r.unbiased for m, r in loss.allocation.routes.items()}
    regret = TABLES["regret"](study).frame
    assert regret.compute.iloc[[0, -1]].tolist() == pytest.approx([400, 107_000])
    assert regret.general.iloc[4] == pytest.approx(0, abs=1e-9)
    held_out = TABLES["held_out"](study).frame.set_index(["quantity", "form"])
    assert set(held_out.index.get_level_values("quantity")) == {"loss", "error"}
    assert (held_out.fitted.loc["loss"] + held_out.held_out.loc["loss"])["general"] == 36
    laws = TABLES["frontier_laws"](study).frame
    assert laws.groupby(["quantity", "law"]).exponent.nunique().eq(1).all()  # one estimate, three intervals
    assert laws.groupby(["quantity", "law"]).low.nunique().eq(3).all()
    repeated = TABLES["repeated_data"](study).frame.set_index("form")
    assert repeated.irreducible_new["additive"] == pytest.approx(
        forms.loc[("additive", "squares"), "irreducible"], rel=1e-3
    )
    profile = TABLES["irreducible"](study).frame
    assert profile.irreducible.iloc[-1] == pytest.approx(repeated.irreducible_new["additive"], rel=1e-3)
