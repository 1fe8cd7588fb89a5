"""Every number of the four figure files, altered: what notices."""

from itertools import islice

import pytest

from paper import tamper
from paper.claims import load_claims
from paper.provenance import DATA
from paper.tamper import (
    SHARE,
    alterations,
    caught_by_hash,
    caught_by_readings,
    caught_by_science,
    explain,
    format_report,
    report,
)


def test_alterations_are_one_unit_of_the_last_printed_digit():
    found = list(alterations(DATA))
    numbers = 36 * 3 + 26 * 3 + 18 * 2 + 3 * 5
    assert len(found) == 2 * numbers
    changes = {(one.before, one.after) for one in found}
    assert ("2.985", "2.986") in changes
    assert ("13.90", "13.89") in changes
    assert ("107000", "107001") in changes
    assert ("0.25", "0.26") in changes
    assert all(one.before != one.after for one in alterations(DATA, share=SHARE))


def test_changes_of_one_digit_are_caught(results, tmp_path):
    """A sample of those of the slow test below."""
    for one in islice(alterations(DATA), 0, None, 17):
        assert caught_by_hash(DATA, tmp_path, one), one
        if one.field in ("imagenet_top1_error_percent", "jft4b_val_loss"):
            assert caught_by_readings(results, one), one
    pinned = [one for one in alterations(DATA, share=SHARE) if one.field in ("tpu_v4_core_hours", "epochs")]
    for one in pinned[::40]:
        assert caught_by_science(results, one, load_claims()), one


@pytest.mark.long
def test_every_change_of_one_digit_is_caught_and_science_alone_is_measured(results, tmp_path, record_property):
    table = report(results, DATA, tmp_path)
    print(format_report(table))
    assert (table.by_hash == 1).all()
    # Readings see every changed digit of a loss or an error; compute is read less finely than it is printed.
    fine = table[table.field.isin(["imagenet_top1_error_percent", "jft4b_val_loss"])]
    assert (fine.by_readings == 1).all()
    science = table.set_index(["resource", "field"]).by_science
    # Relations between numbers pin compute, epochs and learning rates entirely.
    for figure in ("figure1", "figure2"):
        assert science["smith2023-" + figure, "tpu_v4_core_hours"] == 1
        assert science["smith2023-" + figure, "epochs"] == 1
    assert science["smith2023-figure3", "optimal_learning_rate"] == 1
    # Losses lie on a smooth surface to a few tenths of a percent, errors only to about one percent.
    assert science["smith2023-figure2", "jft4b_val_loss"] > 0.8
    assert 0 < science["smith2023-figure1", "imagenet_top1_error_percent"] < 0.6
    # What escapes is explained, column by column.
    reasons = explain(results, table)
    assert len(reasons) == (table.escaped > 0).sum()
    assert any("fine-tuned runs scatter by" in reason for reason in reasons)


def test_unaltered_numbers_are_not_reported(results, tmp_path):
    one = next(alterations(DATA))
    same = tamper.Alteration(one.resource, one.row, one.field, one.before, one.before)
    assert not caught_by_hash(DATA, tmp_path, same)
    assert not caught_by_readings(results, same)
    assert caught_by_science(results, same, load_claims()) == ""


def test_command_line_on_bad_input(tmp_path, capsys):
    assert tamper.main(["--data", str(tmp_path)]) == 2
    assert "datapackage.json: not found" in capsys.readouterr().err
