"""The published scores that come with the package."""

from __future__ import annotations

import pandas as pd
import pytest

from matgl_infomax.errors import InputError
from matgl_infomax.leaderboard.published import FLAGS, chosen_rows, published_folds, published_scores, ranked_rows
from matgl_infomax.tasks.matbench.task import load_task


def test_the_tables_fit_together():
    table, folds = published_scores(), published_folds()
    assert table["task"].nunique() == 9 and not table.duplicated(["task", "algorithm"]).any()
    assert not folds.duplicated(["task", "algorithm", "fold"]).any()
    mean = folds.groupby(["task", "algorithm"])["score"].agg(["mean", "size"])
    std = folds.groupby(["task", "algorithm"])["score"].std(ddof=0)
    known = table.set_index(["task", "algorithm"])
    assert (mean["size"] == 5).all() and set(mean.index) <= set(known.index)
    assert known.loc[mean.index, "mean"].tolist() == pytest.approx(mean["mean"].tolist(), rel=1e-6)
    assert known.loc[mean.index, "std"].tolist() == pytest.approx(std.loc[mean.index].tolist(), rel=1e-4)


def test_every_entry_has_a_source_and_merged_ones_a_date():
    table = published_scores()
    assert (table["source"] != "").all()
    assert table.loc[table["status"] == "merged", "date"].str.fullmatch(r"20\d\d-\d\d-\d\d").all()
    assert set(table["status"]) == {"merged", "open pull request", "fork", "author repository", "paper"}
    for name, part in table.groupby("task"):
        assert set(part["metric"]) == {load_task(name).card.metric}
        scores = part["mean"] if load_task(name).card.metric == "mae" else -part["mean"]
        assert scores.is_monotonic_increasing


def test_what_may_not_be_compared_is_flagged_and_not_ranked():
    table = published_scores()
    assert set(table["flag"]) == {"", *FLAGS}
    assert ((table["flag"] == "") == (table["reason"] == "")).all()
    flags = table.set_index(["task", "algorithm"])["flag"]
    assert flags["matbench_mp_e_form", "GN-OA v1"] == "one_model"
    assert flags["matbench_mp_is_metal", "CGCNN v2019"] == "suspect"
    assert flags["matbench_mp_gap", "CGCNN v2019"] == ""
    assert flags["matbench_mp_e_form", "eComFormer"] == "test_as_validation"
    assert flags["matbench_jdft2d", "JMP (MatterTune run)"] == "fold_0_only"
    merged, comparable, everything = (ranked_rows(table, how) for how in ("merged", "comparable", "all"))
    assert (table.loc[comparable, "flag"] == "").all()
    assert (merged <= comparable).all() and (comparable <= everything).all()
    assert not (everything & (table["flag"] == "fold_0_only")).any()


def test_places_are_those_of_the_website():
    """The first ones of the official table, flagged entries left out."""
    table = published_scores("matbench_jdft2d")
    ranked = table[ranked_rows(table, "merged")]
    assert list(ranked["algorithm"][:4]) == ["MODNet (v0.1.12)", "MODNet (v0.1.10)", "coNGN", "coGN"]
    assert len(ranked) == 16
    metal = published_scores("matbench_mp_is_metal")
    assert metal[ranked_rows(metal, "merged")]["algorithm"].iloc[0] == "ALIGNN"


def test_entries_are_found_by_algorithm_or_folder():
    table = published_scores()
    found = table[chosen_rows(table, ["alignn", "coNGN", "matbench_v0.1_dummy"])]
    assert set(found["algorithm"]) == {"ALIGNN", "coNGN", "Dummy"}
    with pytest.raises(InputError, match=r"No published entry is called 'alignnn'. Merged ones are: ALIGNN"):
        chosen_rows(table, ["alignnn"])


def test_the_table_is_that_of_the_gathered_scores(shared):
    gathered = pd.read_csv(shared / "leaderboard" / "summary.csv")
    gathered["score"] = gathered["mean_mae"].fillna(gathered["mean_rocauc"])
    gathered["task"] = "matbench_" + gathered["task"]
    wanted = gathered.set_index(["task", "algorithm"])["score"]
    found = published_scores().set_index(["task", "algorithm"])["mean"]
    assert set(found.index) == set(wanted.index)
    assert found.tolist() == pytest.approx(wanted[found.index].tolist(), rel=1e-6)
