"""Official folds answered in the repository: cards, scores and texts fit together, and the arms met on equal terms."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from matgl_infomax.leaderboard.runs_read import read_asked
from tests.leaderboard.kept import RESULTS, cards

FOLDER = RESULTS / "matbench"
ANSWERS = sorted(path.parent for path in FOLDER.rglob("benchmark.json"))


def test_what_was_to_be_measured_is_there():
    questions = [read_asked(answer) for answer in ANSWERS]
    about = {(q.task, q.network, q.settings["corpus_without"], q.arm) for q in questions}
    for network in ("sitenet", "megnet"):
        for without, arm in (("nothing", "corpus"), ("formulas", "corpus"), ("matches", "scratch")):
            assert ("matbench_jdft2d", network, without, arm) in about
    assert all(q.folds == [0, 1, 2, 3, 4] for q in questions if q.task == "matbench_jdft2d")


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.name)
def test_every_fold_and_seed_has_its_card(answer):
    question, found = read_asked(answer), cards(answer)
    assert sorted((c.fold, c.seed) for c in found) == sorted((f, s) for f in question.folds for s in question.seeds)
    assert all(card.settings == question.settings and card.arm == question.arm for card in found)
    predictions = pd.read_parquet(answer / "predictions.parquet")
    assert "target" not in predictions, "true values are Matbench's, not ours to pass on"
    sizes = predictions.groupby("fold").size()
    assert all(card.n_test == sizes[card.fold] for card in found)


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.name)
def test_an_ensemble_is_no_worse_than_its_members(answer):
    """The error of a mean is at most the mean of the errors: scores of another run would not keep to that."""
    scores = pd.read_csv(answer / "scores.csv").set_index("fold")["mae"]
    for fold, score in scores.items():
        members = [card.metrics.mae for card in cards(answer) if card.fold == fold]
        assert score <= np.mean(members) + 1e-9 and score > 0.5 * min(members)


def test_arms_of_a_network_met_on_equal_terms():
    """The same labels, test crystals, rates and steps; only where the weights come from differs."""
    groups: dict[tuple[str, str], set[str]] = {}
    for answer in ANSWERS:
        question = read_asked(answer)
        longer = question.settings["finetune"]["steps"] > 3000  # there each arm has one rate, that of its first run
        if longer or question.arm == "descriptors":
            continue
        terms = {k: v for k, v in question.settings.items() if k not in ("arm", "corpus_without", "corpus_size")}
        hashes = sorted({(c.fold, c.mask.sha256, c.hashes.folds, c.hashes.data) for c in cards(answer)})
        groups.setdefault((question.task, question.network), set()).add(json.dumps([terms, hashes]))
    assert len(groups) >= 3 and all(len(terms) == 1 for terms in groups.values())


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.name)
def test_the_text_has_the_number_of_the_file(answer):
    scores = pd.read_csv(answer / "scores.csv")["mae"]
    number = f"{scores.mean():.2f} ± {scores.std(ddof=0):.2f}" if len(scores) > 1 else f"{scores[0]:.4f}"
    line = next(line for line in (FOLDER / "README.md").read_text().splitlines() if f"`{answer.name}`" in line)
    assert number in line
