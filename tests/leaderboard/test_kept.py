"""Kept predictions: small, whole, and enough to make every interval again."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from matgl_infomax.cli import main
from matgl_infomax.errors import InputError
from matgl_infomax.io import vouch_for
from matgl_infomax.leaderboard.kept import compare_kept, kept_table, read_kept
from matgl_infomax.leaderboard.verdict import Verdict, absolute_errors, judge, run_name
from tests.helpers.mutate import ends_well
from tests.helpers.vouched import assert_vouched

COUNTS, SEEDS, CRYSTALS = (50, 100), (0, 1, 2), 400


def predictions(pretrainings=2, crystals=CRYSTALS):
    """A study in which 'strong-n5' errs 0.7 times as much as scratch, with several pretrainings."""
    rng = np.random.default_rng(0)
    truth = rng.normal(-2, 1, size=crystals)
    ids = [f"c{k:05d}" for k in range(crystals)]
    parts = []
    for arm, size, which in [("scratch", 1.0, 0), *(("strong-n5", 0.7, p) for p in range(pretrainings))]:
        for labels in COUNTS:
            for seed in SEEDS:
                table = {"task": "t", "arm": arm, "labels": labels, "seed": seed, "fold": 1, "id": ids, "target": truth}
                error = size * rng.normal(size=crystals) * labels**-0.5
                parts.append(pd.DataFrame({**table, "prediction": truth + error, "pretraining": which}))
    table = pd.concat(parts, ignore_index=True)
    return table if pretrainings > 1 else table.drop(columns="pretraining")


def numbers(verdict):
    """All numbers of the comparisons of a verdict."""
    names = ("mae", "against_mae", "ratio", "ratio_low", "ratio_high", "difference_low", "difference_high")
    return np.array([[getattr(pair, name) for name in names] for pair in (*verdict.points, *verdict.others)])


def test_large_values_keep_the_digits_of_their_errors(tmp_path):
    """Total energies near -1e6 with errors of 0.1: single precision steps by 0.06 there."""
    table = predictions(1)
    far = table.assign(target=table["target"] - 1e6, prediction=table["prediction"] - 1e6)
    file = tmp_path / "kept.parquet"
    file.write_bytes(kept_table(far, target="energy", unit="eV"))
    by = ["arm", "labels", "seed", "id"]
    found, known = read_kept(file).predictions.sort_values(by), far.sort_values(by)
    np.testing.assert_allclose(found["prediction"], known["prediction"], rtol=0, atol=1e-7)


@pytest.mark.parametrize("pretrainings", [1, 2])
@pytest.mark.parametrize("errors_only", [False, True])
def test_the_file_alone_gives_every_interval_again(tmp_path, pretrainings, errors_only):
    table = predictions(pretrainings)
    known = judge(absolute_errors(table), target="gap", unit="eV")
    file = tmp_path / "any.parquet"
    # The lines may come in any order: each value stays with its crystal and its run.
    mixed = table.sample(frac=1, random_state=1)
    file.write_bytes(kept_table(mixed, target="gap", unit="eV", errors_only=errors_only))
    found = read_kept(file).verdict()
    np.testing.assert_allclose(numbers(found), numbers(known), rtol=2e-6)
    assert (found.target, found.unit, found.answer, found.seeds) == ("gap", "eV", known.answer, 3)
    assert found.points and found.pretrainings == pretrainings


def test_ids_stand_once_and_predictions_are_single_precision():
    table = predictions()
    found = pq.read_table(io.BytesIO(kept_table(table, target="gap", unit="eV")))
    assert found.num_rows == CRYSTALS
    assert {str(field.type) for field in found.schema if field.name not in ("id", "target")} == {"float"}
    assert run_name("strong-n5", 100, 2, 1) in found.column_names and run_name("scratch", 50, 0) in found.column_names
    assert found.num_columns == 2 + 3 * len(COUNTS) * len(SEEDS)


def test_the_size_is_the_one_that_the_option_tells():
    """About 4 bytes per run and crystal."""
    table = predictions(crystals=4000)
    runs = 3 * len(COUNTS) * len(SEEDS)
    assert 3 < len(kept_table(table, target="gap", unit=None)) / (4000 * runs) < 5


def test_errors_alone_tell_neither_truth_nor_prediction():
    table = predictions()
    found = pq.read_table(io.BytesIO(kept_table(table, target="gap", unit="eV", errors_only=True))).to_pandas()
    assert "target" not in found and (found.drop(columns="id") >= 0).all(axis=None)
    first = table.query("arm == 'scratch' and labels == 50 and seed == 0").set_index("id")
    error = (first["prediction"] - first["target"]).abs()
    np.testing.assert_allclose(found.set_index("id")["scratch-n50-s0"], error[found["id"]], rtol=1e-6)


def test_compare_makes_the_intervals_again(tmp_path, capsys):
    file, table = tmp_path / "kept.parquet", predictions()
    file.write_bytes(kept_table(table, target="gap", unit="eV"))
    assert main(["compare", str(file), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    known = judge(absolute_errors(table), target="gap", unit="eV")
    assert all(point.sentence in said for point in known.points)
    again = Verdict.model_validate_json((tmp_path / "out" / "verdict.json").read_text())
    np.testing.assert_allclose(numbers(again), numbers(known), rtol=2e-6)
    assert_vouched(tmp_path / "out", {"summary.md", "verdict.json"})
    assert main(["compare", str(file), "--draws", "500", "--seed", "3"]) == 0
    other = judge(absolute_errors(table), target="gap", unit="eV", draws=500, seed=3)
    assert other.points[0].sentence in capsys.readouterr().out


def test_intervals_made_again_in_the_folder_of_the_study_leave_its_other_hashes(tmp_path):
    (tmp_path / "kept.parquet").write_bytes(kept_table(predictions(), target="gap", unit="eV"))
    (tmp_path / "cards.jsonl").write_text("written by the study")
    vouch_for(tmp_path, ["kept.parquet", "cards.jsonl"])
    compare_kept([tmp_path / "kept.parquet"], tmp_path, draws=100)
    assert_vouched(tmp_path, {"kept.parquet", "cards.jsonl", "summary.md", "verdict.json"})
    (tmp_path / "cards.jsonl").write_text("changed later")
    with pytest.raises(InputError, match=r"cards\.jsonl is not the file that was written"):
        compare_kept([tmp_path / "kept.parquet"], tmp_path, draws=100)


@pytest.mark.parametrize(
    ("words", "text"),
    [(["--entries", "alignn"], "need no --entries"), ([str(Path(__file__).parent)], "not compared with benchmarks")],
)
def test_what_says_nothing_of_a_study_is_refused(tmp_path, capsys, words, text):
    file = tmp_path / "kept.parquet"
    file.write_bytes(kept_table(predictions(), target="gap", unit=None))
    assert main(["compare", str(file), *words]) == 2
    assert text in capsys.readouterr().err


def damaged(content, how):
    """The bytes of another file."""
    table = pq.read_table(io.BytesIO(content))
    frame = table.to_pandas()
    if how == "cut":
        return content[: len(content) // 2]
    buffer = io.BytesIO()
    if how == "no facts":
        frame.to_parquet(buffer)
    elif how == "id twice":
        pq.write_table(table.take([0, 0, *range(2, len(table))]), buffer)
    else:
        frame.loc[3, "scratch-n50-s0"] = np.nan
        pq.write_table(table.from_pandas(frame, schema=table.schema), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("how", ["cut", "no facts", "id twice", "no number"])
def test_a_damaged_file_is_said(tmp_path, how):
    file = tmp_path / "kept.parquet"
    file.write_bytes(damaged(kept_table(predictions(), target="gap", unit=None), how))
    with pytest.raises(InputError, match=r"kept\.parquet holds no kept predictions of a study"):
        read_kept(file)
    with pytest.raises(InputError, match="holds no kept predictions"):
        read_kept(tmp_path / "absent.parquet")
    with pytest.raises(InputError, match="Received 2 files"):
        compare_kept([file, file], tmp_path)


@pytest.mark.parametrize("errors_only", [False, True])
def test_damage_gives_a_sentence_or_the_intervals(tmp_path, errors_only):
    file = tmp_path / "kept.parquet"
    file.write_bytes(kept_table(predictions(2, 40), target="gap", unit="eV", errors_only=errors_only))
    done, refused = ends_well(tmp_path, 60, lambda: compare_kept([file], draws=100))
    assert refused > done


def test_dead_networks_are_left_out_by_those_who_make_the_intervals_again(tmp_path):
    """The verdict of the file is that of the same errors and dead networks; without the latter it is another."""
    table = predictions(3, 40)
    dead = {("scratch", n): np.array([True, False, False]) for n in set(table["labels"])}
    file = tmp_path / "kept.parquet"
    file.write_bytes(kept_table(table, target="gap", unit="eV", dead=dead))
    found = read_kept(file).verdict()
    assert [point.dead for point in found.points] == [1] * len(dead)
    expected = judge(absolute_errors(read_kept(file).predictions), target="gap", unit="eV", dead=dead)
    assert found == expected and found.failed
    wrong = {key: rows[:2] for key, rows in dead.items()}
    file.write_bytes(kept_table(table, target="gap", unit="eV", dead=wrong))
    with pytest.raises(InputError, match="dead networks of other seeds"):
        read_kept(file)
