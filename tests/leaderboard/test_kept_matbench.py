"""Official folds answered in the repository: cards, scores and texts fit together, and the arms met on equal terms."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest

from matgl_infomax.leaderboard.compare_published import compare_with_published
from matgl_infomax.leaderboard.comparison import as_json
from matgl_infomax.leaderboard.published import published_scores, ranked_rows
from matgl_infomax.leaderboard.results import read_benchmark_spec
from tests.helpers.kept_results import RESULTS, ROOT, cards

FOLDER = RESULTS / "matbench"
ANSWERS = sorted(path.parent for path in FOLDER.rglob("benchmark.json"))


def test_what_was_to_be_measured_is_there():
    questions = [read_benchmark_spec(answer) for answer in ANSWERS]
    about = {(q.task, q.network, q.settings["corpus_without"], q.arm) for q in questions}
    for network in ("sitenet", "megnet"):
        for without, arm in (("nothing", "corpus"), ("formulas", "corpus"), ("matches", "scratch")):
            assert ("matbench_jdft2d", network, without, arm) in about
    assert all(q.folds == [0, 1, 2, 3, 4] for q in questions if q.task == "matbench_jdft2d")


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.name)
def test_every_fold_and_seed_has_its_card(answer):
    question, found = read_benchmark_spec(answer), cards(answer)
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
        question = read_benchmark_spec(answer)
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


COMPARED = json.loads((FOLDER / "comparison" / "comparison.json").read_text())
OURS = {run["name"]: (task, run) for task in COMPARED["tasks"] for run in task["runs"]}


def test_every_answer_is_compared_and_its_score_is_that_of_its_folder():
    assert set(OURS) == {answer.name for answer in ANSWERS}
    for answer in ANSWERS:
        task, run = OURS[answer.name]
        scores = pd.read_csv(answer / "scores.csv")
        assert task["folds"] == scores["fold"].tolist()
        assert run["fold_scores"] == pytest.approx(scores["mae"].tolist(), rel=1e-6)
        assert run["seeds"] == len(read_benchmark_spec(answer).seeds)
        assert [duel["other"] for duel in run["duels"]] in (["coNGN", "ALIGNN", "Dummy"], ["ALIGNN", "coNGN", "Dummy"])


def test_places_are_those_of_the_published_scores_and_of_the_text():
    table = published_scores("matbench_jdft2d")
    ranked = table.loc[ranked_rows(table, "merged"), "mean"]
    text = (FOLDER / "README.md").read_text().splitlines()
    for name, (task, run) in OURS.items():
        place = run["place"]
        if task["task"] == "matbench_jdft2d":
            assert place["place"] == 1 + (ranked < run["score"]).sum() and place["of"] == 1 + len(ranked)
        assert place["best"] <= place["place"] <= place["worst"] <= place["of"]
        line = next(line for line in text if line.startswith(f"| `{name}`"))
        assert f"{place['place']} of {place['of']}" in line


def test_the_findings_in_the_text_are_those_of_the_comparison():
    for name, (_, run) in OURS.items():
        finding = {duel["other"]: duel["finding"] for duel in run["duels"]}
        if name.startswith("jdft2d"):
            assert finding["coNGN"] == "worse" and finding["Dummy"] == "better"
            assert finding["ALIGNN"] == ("tie" if "sitenet" in name else "worse")
    own = {(duel["ours"], duel["other"]): duel for task in COMPARED["tasks"] for duel in task["own"]}
    text = " ".join((FOLDER / "README.md").read_text().split())
    for steps, ending in (("3,000", ""), ("12,000", "_longer")):
        duel = own[f"perovskites_sitenet_without{ending}", f"perovskites_sitenet_scratch{ending}"]
        numbers = f"{duel['difference']:.3f} [{duel['low']:+.2f}, {duel['high']:+.2f}]"
        assert duel["finding"] == "tie" and re.search(rf"{re.escape(numbers)}[^.]*\({steps} steps\)", text), numbers
    for network in ("sitenet", "megnet"):
        pairs = [duel for names, duel in own.items() if all(f"jdft2d_{network}" in name for name in names)]
        assert len(pairs) == 3 and {duel["finding"] for duel in pairs} == {"tie"}


def own_difference(ours: str, other: str) -> tuple[float, float, str]:
    """Interval of the difference of two answers of ours, with crystals and seeds in it, and the finding."""
    for task in COMPARED["tasks"]:
        for duel in task["own"]:
            if (duel["ours"], duel["other"]) == (ours, other):
                return duel["low"], duel["high"], duel["finding"]
            if (duel["ours"], duel["other"]) == (other, ours):
                return -duel["high"], -duel["low"], duel["finding"]
    raise AssertionError(f"{ours} and {other} were not compared")


@pytest.mark.parametrize("network", ["sitenet", "megnet"])
@pytest.mark.parametrize("overlap", ["with", "without"])
def test_ratios_are_told_with_other_seeds_too(network, overlap):
    name, scratch = f"jdft2d_{network}_{overlap}", f"jdft2d_{network}_scratch"
    low, high, finding = own_difference(name, scratch)
    error = pd.read_csv(FOLDER / scratch / "scores.csv")["mae"].mean()
    (line,) = [line for line in (FOLDER / "README.md").read_text().splitlines() if line.startswith(f"| `{name}`")]
    assert line.endswith(f" [{1 + low / error:.2f}, {1 + high / error:.2f}] |") and finding == "tie"
    if (network, overlap) == ("sitenet", "without"):
        text = " ".join((FOLDER / "README.md").read_text().split())
        assert f"[0.94, 1.03] is [{1 + low / error:.2f}, {1 + high / error:.2f}] with other seeds" in text


def test_perovskites_are_told_as_a_tie():
    """The shares in the text are those of the scores, and stand beside the finding of the comparison."""
    scores = {k: pd.read_csv(FOLDER / f"perovskites_sitenet_{k}" / "scores.csv")["mae"][0]
              for k in ("scratch", "without", "scratch_longer", "without_longer")}  # fmt: skip
    short, longer = (1 - scores[f"without{end}"] / scores[f"scratch{end}"] for end in ("", "_longer"))
    text = " ".join((FOLDER / "README.md").read_text().split())
    assert f"**Perovskites: a tie.** Pretrained Site-Net makes {short:.0%} less".replace("%", " %") in text
    assert f"{longer:.0%} less at 12,000".replace("%", " %") in text
    for end in ("", "_longer"):
        assert own_difference(f"perovskites_sitenet_without{end}", f"perovskites_sitenet_scratch{end}")[2] == "tie"
    for page in (FOLDER / "README.md", ROOT / "docs" / "results" / "matbench.md"):
        told = page.read_text()
        assert "**Perovskites: a tie.**" in told and not re.search(r"nearly halves|gap shrinks from", told)


def test_the_comparison_holds_no_true_value(shared):
    text = "".join(file.read_text() for file in (FOLDER / "comparison").iterdir())
    truth = pd.read_parquet(shared / "leaderboard" / "targets" / "jdft2d.parquet")["target"]
    for _, run in OURS.values():
        assert not {"predictions", "targets"} & set(run)
        assert all(not {"target", "prediction", "error", "reference_error"} & set(line) for line in run["worst"])
    said = [f"{value:.7g}" for value in truth]
    assert not [word for word in said if len(word) > 7 and word in text]  # "47.5" may stand there by chance


def test_the_comparison_is_what_the_command_gives(shared):
    """All but the strata, which need structures and a minute."""
    runs = [FOLDER / name for name, (task, _) in sorted(OURS.items()) if task["task"] == "matbench_jdft2d"]
    found = compare_with_published(run=runs, published=shared / "leaderboard", entries=["alignn", "coNGN", "dummy"])
    kept = next(task for task in COMPARED["tasks"] if task["task"] == "matbench_jdft2d")
    (again,) = as_json(found)["tasks"]
    for one, other in zip(again["runs"], kept["runs"], strict=True):
        for key in ("name", "place"):
            assert one[key] == other[key]
        for duel, before in zip([*one["duels"], *again["own"]], [*other["duels"], *kept["own"]], strict=True):
            assert {key for key in duel if isinstance(duel[key], str) and duel[key] != before[key]} == set()
            numbers = [key for key in duel if isinstance(duel[key], float)]
            assert [duel[key] for key in numbers] == pytest.approx([before[key] for key in numbers], rel=1e-4, abs=1e-6)
