"""Tables: their numbers are the data's, in three formats, and bad input leaves what exists."""

import io

import pandas as pd
import pytest

from paper.tables import TABLES, Table, compose, write_all
from paper.tables.__main__ import main


@pytest.mark.parametrize("name", list(TABLES))
def test_csv_holds_unrounded_values_and_text_formats_hold_every_row(study, name):
    table = TABLES[name](study)
    assert table.name == name
    again = pd.read_csv(io.StringIO(table.csv()))
    assert len(again) == len(table.frame)
    assert table.markdown().count("\n| ") + table.markdown().count("\n|:") == len(table.frame) + 2
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
    assert len(frame) == 260
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
    assert f"{study.matched.ratio.mid:.3f} [{study.matched.ratio.low:.3f}" in conversion.caption
    pd.testing.assert_frame_equal(TABLES["vit_scenarios"](study).frame, study.matched.table)


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
