"""Every way to pretrain, measured on one budget: the overview is what the verdicts say, and nothing is left out."""

from __future__ import annotations

import json
import re
from collections import defaultdict

import numpy as np
import pandas as pd
import pytest

from matgl_infomax.leaderboard.verdict import Paired, Verdict, against_scratch
from matgl_infomax.settings.training import OBJECTIVE_NAMES
from tests.helpers.kept_results import RESULTS, ROOT, cards

METHODS = RESULTS / "methods"
NETWORKS = ("sitenet", "megnet")
PROPERTIES = ("e_form", "gap", "log_kvrh")
ARMS = (*OBJECTIVE_NAMES, "combined", "descriptors")


def pairs(network: str) -> dict[str, list[Paired]]:
    """Comparisons with scratch by arm, all properties together."""
    found = defaultdict(list)
    for name in PROPERTIES:
        verdict = Verdict.model_validate_json((METHODS / f"{network}_{name}" / "verdict.json").read_text())
        for (arm, _), pair in against_scratch(verdict).items():
            found[arm].append(pair)
    return found


def overview() -> list[str]:
    """A line per arm and network: geometric mean of its ratios, and how many are clear."""
    lines = []
    for network in NETWORKS:
        found = pairs(network)
        for arm in ARMS:
            ratio = float(np.exp(np.mean([np.log(pair.ratio) for pair in found[arm]])))
            count = {kind: sum(pair.finding == kind for pair in found[arm]) for kind in ("better", "worse")}
            cells = f"{count['better']} | {count['worse']} | {len(found[arm])}"
            lines.append(f"| {network} | {arm} | {ratio:.3f} | {cells} |")
    return lines


def test_overview_is_what_the_verdicts_say():
    assert "\n".join(overview()) in (METHODS / "README.md").read_text()


@pytest.mark.parametrize("network", NETWORKS)
def test_nothing_is_left_out(network):
    for arm, found in pairs(network).items():
        # An encoder that read formation energies is not asked for formation energies.
        assert len(found) == (4 if arm == "supervised" else 6), arm
    table = pd.read_csv(METHODS / "pretraining.csv").query("network == @network")
    assert set(table["objective"]) == {*OBJECTIVE_NAMES, "combined"}
    assert table["steps"].nunique() == table["batch_sites"].nunique() == 1, "one budget"
    assert (table[["seconds", "peak_memory_mb"]] > 0).all(axis=None)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_same_weights_start_every_property(network):
    """A seed draws the fresh head, so each arm has as many beginnings as seeds, the same ones for every property."""
    used = defaultdict(set)
    for name in PROPERTIES:
        for card in cards(METHODS / f"{network}_{name}"):
            used[card.arm].add((card.seed, card.initial.sha256))
    pretrained = [used[arm] for arm in (*OBJECTIVE_NAMES, "combined")]
    assert all(len(found) == len({seed for seed, _ in found}) == 3 for found in pretrained)
    assert len(set.union(*pretrained)) == 3 * len(pretrained), "every objective has weights of its own"


def test_the_cost_of_pretraining_is_told():
    text = (METHODS / "README.md").read_text()
    table = pd.read_csv(METHODS / "pretraining.csv")
    for name, runs in table.groupby("objective"):
        by_network = runs.set_index("network")
        numbers = [f"{by_network.at[n, c]:.0f}" for c in ("seconds", "peak_memory_mb") for n in NETWORKS]
        assert f"| {name} | {' | '.join(numbers)} |" in text


def test_force_fields_have_their_cards_and_their_table():
    table = json.loads((METHODS / "forces" / "table.json").read_text())["lines"]
    runs = cards(METHODS / "forces")
    elements = {"Ni", "Cu", "Li", "Mo", "Si", "Ge"}
    keys = {(card.task.removeprefix("mlearn_"), card.arm, card.mask.asked, card.seed) for card in runs}
    arms, seeds = {card.arm for card in runs}, {card.seed for card in runs}
    assert len(keys) == len(runs) == len(elements) * 3 * len(arms) * len(seeds) and len(seeds) == 3
    assert {line["element"] for line in table} >= elements
    for line in table:
        if line["kind"] == "energy" and line["element"] in elements:
            counts = sorted({card.mask.asked for card in runs if card.task == f"mlearn_{line['element']}"})
            frames = counts[[0.1, 0.25, 1.0].index(line["share"])]
            mine = [
                card.metrics.energy.mae
                for card in runs
                if (card.task, card.arm, card.mask.asked) == (f"mlearn_{line['element']}", line["arm"], frames)
            ]
            assert np.mean(mine) == pytest.approx(line["mae"]), line
    blocks = (METHODS / "forces" / "summary.md").read_text().strip().split("\n\n")
    assert blocks[-1].startswith("| element") and blocks[-1] in (METHODS / "README.md").read_text()


def overlap() -> pd.DataFrame:
    """Test crystals of fold 0 that the corpus of the comparison held, by task."""
    return pd.read_csv(METHODS / "corpus_overlap.csv").set_index("task")


def shares() -> dict[str, str]:
    """Share of the test crystals in the corpus, as texts write it."""
    found = overlap()
    share = found["in_corpus"] / found["test_crystals"]
    return {task: f"{100 * value:.0f} %" for task, value in share.items()}


def test_how_much_of_the_test_parts_the_corpus_held(shared):
    """Counted again from the matched rows: the corpus is the formation-energy table without its fold-0 test part."""
    with np.load(shared / "data" / "matbench" / "matbench_v0.1_folds.npz") as stored:
        folds = {task: stored[f"{task}/test_0"] for task in ("matbench_mp_e_form", *overlap().index)}

    def rows(task):
        name = task.removeprefix("matbench_")
        table = pd.read_parquet(shared / "data" / "mp_matched" / f"{name}.parquet", columns=["index", "mp_id"])
        return table, table["index"].isin(folds[task])

    table, tested = rows("matbench_mp_e_form")
    corpus = table[~tested]["mp_id"]
    for task, kept in overlap().iterrows():
        table, tested = rows(task)
        ids = table[tested]["mp_id"]
        assert (len(ids), ids.isin(corpus).sum(), len(corpus)) == tuple(kept)


def test_texts_say_that_the_corpus_held_test_crystals_wherever_its_numbers_stand():
    gap, bulk = shares()["matbench_mp_gap"], shares()["matbench_log_kvrh"]
    docs, quoted = ROOT / "docs", re.compile(r"`methods/\w+ ")
    quoting = [page for page in sorted((docs / "methods").glob("*.md")) if quoted.search(page.read_text())]
    assert len(quoting) >= 4
    for page in (*quoting, docs / "methods" / "fingerprint.md", docs / "results" / "methods.md", docs / "limits.md"):
        text = " ".join(page.read_text().split())
        assert f"{bulk} of the test crystals of the bulk modulus and {gap} of those of the gap" in text, page
        assert re.search(r"no cell is corrected for the 46", text, re.IGNORECASE), page
    text = " ".join((METHODS / "README.md").read_text().split())
    for task, share in shares().items():
        numbers = overlap().loc[task]
        assert f"{share} ({numbers['in_corpus']:,} of {numbers['test_crystals']:,})" in text


@pytest.mark.parametrize("network", NETWORKS)
def test_as_many_cells_were_looked_at_as_the_texts_say(network):
    assert sum(len(found) for arm, found in pairs(network).items() if arm != "descriptors") == 46
