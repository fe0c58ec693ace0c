"""Folds of a small study: every crystal tested, twins together, nothing newer learnt from, counts that fit."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from matgl_infomax.data.read import Crystals
from matgl_infomax.errors import InputError
from matgl_infomax.leaderboard.resampled import compare_resampled, detectable_difference
from matgl_infomax.tasks.studies.resample import (
    ENOUGH_UNLABELLED,
    FIXED_FROM,
    is_resampled,
    parts_and_masks,
    resampling,
    settled,
)
from tests.helpers.build import many
from tests.helpers.small_curve import config


def own(folder, **changes):
    """Settings of a user who gives neither folds nor numbers of labels."""
    return config(folder, **{"folds": None, "labels": [], "seeds": None, **changes})


def single(crystals, n):
    """Crystals of n different formulas: one atom more of the first element each."""
    return [
        replace(c, numbers=np.append(c.numbers, [7] * (k + 1)), frac=np.vstack([c.frac, np.zeros((k + 1, 3))]))
        for k, c in enumerate(many(crystals, n))
    ]


def plan(items, folder, **changes):
    table = Crystals(items, targets=["y"])
    return parts_and_masks(table, table.labels(["y"])[:, 0], own(folder, **changes))


@pytest.mark.parametrize("n", [11, 23, 60])
def test_every_crystal_is_tested_once_in_each_repeat_by_models_that_never_saw_it(crystals, tmp_path, n):
    items = single(crystals, n)
    found = plan(items, tmp_path)
    folds = found.resampling
    assert set(folds.parts) == {(seed, fold) for seed in (0, 1) for fold in range(5)}
    for seed in (0, 1):
        tested = np.concatenate([folds.parts[seed, fold].test for fold in range(5)])
        assert sorted(tested) == list(range(n))
    assert not np.array_equal(folds.parts[0, 0].test, folds.parts[1, 0].test)
    for (count, seed, fold), rows in found.masks.items():
        part = folds.parts[seed, fold]
        assert len(set(rows)) == len(rows) == count
        assert set(rows) <= set(part.train) and not set(part.train) & set(part.test)


def test_sixty_labels_give_12_24_and_48(crystals, tmp_path):
    found = plan(single(crystals, 60), tmp_path)
    assert (found.config.labels, found.config.seeds) == ([12, 24, 48], 2)
    said = found.resampling.sentences[0]
    assert (
        f"With 60 labels this study can tell differences in error above about {detectable_difference(60):.0%}" in said
    )


def test_masks_are_nested_and_differ_between_folds(crystals, tmp_path):
    found = plan(single(crystals, 60), tmp_path)
    for seed, fold in found.resampling.parts:
        small, large = (found.masks[count, seed, fold].tolist() for count in (12, 48))
        assert large[:12] == small
    drawn = {tuple(sorted(found.masks[12, seed, fold])) for seed, fold in found.resampling.parts}
    assert len(drawn) == 10


def test_another_label_changes_no_part_and_no_mask(crystals, tmp_path):
    """Whether there is a label decides; its value never does."""
    items = single(crystals, 40)
    before = plan(items, tmp_path)
    after = plan([replace(c, labels={"y": 1000.0 - k}) for k, c in enumerate(items)], tmp_path)
    for key, rows in before.masks.items():
        assert np.array_equal(rows, after.masks[key])
    for key, part in before.resampling.parts.items():
        assert np.array_equal(part.test, after.resampling.parts[key].test)


def test_crystals_without_a_label_are_learnt_from_and_never_tested(crystals, tmp_path):
    items = [replace(c, labels={}) if k % 3 == 0 else c for k, c in enumerate(single(crystals, 60))]
    found = plan(items, tmp_path)
    without = set(range(0, 60, 3))
    for part in found.resampling.parts.values():
        assert without <= set(part.train) and not without & set(part.test)
    assert not any(without & set(rows) for rows in found.masks.values())
    assert set(found.parts.train) == without and len(found.parts.test) == 40


@pytest.mark.parametrize("group", [None, "formula", "composition-system"])
def test_twins_stay_together(crystals, tmp_path, group):
    """Twelve formulas, strained: each formula is in one fold."""
    items = many(crystals, 60)
    found = plan(items, tmp_path, group=group).resampling
    names = [c.reduced_formula for c in items]
    for part in found.parts.values():
        assert not {names[row] for row in part.train} & {names[row] for row in part.test}
    assert found.facts["group"] == (group or "formula")
    assert any("(--group formula)" in s or "same elements" in s for s in found.sentences)


def test_systems_are_wider_than_formulas(crystals, tmp_path):
    """GaN and its twin with one more nitrogen are one system and two formulas."""
    items = many(crystals, 48)
    items += [
        replace(
            c, id=f"{c.id}-more", numbers=np.append(c.numbers, c.numbers[-1]), frac=np.vstack([c.frac, [[0.1] * 3]])
        )
        for c in items[:24]
    ]
    formula, system = (plan(items, tmp_path, group=g).resampling for g in ("formula", "composition-system"))
    assert len(set(system.groups)) == 12 < len(set(formula.groups))


def test_without_groups_twins_may_part(crystals, tmp_path):
    found = plan(many(crystals, 60), tmp_path, group="none").resampling
    assert len(set(found.groups)) == 60


def with_column(folder, items, name, value):
    """A CSV with labels and one more column."""
    lines = [f"id,y,{name}", *(f"{c.id},{c.labels['y']},{value(k)}" for k, c in enumerate(items))]
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return {"labels_file": folder / "labels.csv"}


def test_families_of_a_column_stay_together(crystals, tmp_path):
    items = single(crystals, 60)
    file = with_column(tmp_path, items, "family", lambda k: f"family {k % 12}")
    found = plan(items, tmp_path, group="family", **file).resampling
    for part in found.parts.values():
        assert not {row % 12 for row in part.train} & {row % 12 for row in part.test}


@pytest.mark.parametrize("value", [lambda k: k % 20, lambda k: f"20{10 + k % 20}-05-31"], ids=["numbers", "dates"])
def test_later_crystals_are_tested_by_models_of_older_ones(crystals, tmp_path, value):
    items = single(crystals, 60)
    file = with_column(tmp_path, items, "year", value)
    found = plan(items, tmp_path, split="time", time_column="year", **file)
    year = np.arange(60) % 20
    for part in found.resampling.parts.values():
        assert year[part.train].max() < year[part.test].min()
    assert len(found.resampling.tested) == 30 and year[found.resampling.tested].min() == 10
    assert found.config.labels == [8, 15, 30]


def test_clusters_of_compositions_are_left_out_whole(crystals, tmp_path):
    """Five kinds of crystals without a common element: each is one fold."""
    pairs = [(3, 9), (11, 17), (19, 35), (37, 53), (12, 8)]
    items = []
    for k, c in enumerate(many(crystals, 60)):
        a, b = pairs[k % 5]
        items.append(replace(c, numbers=np.array([a, b]), frac=np.array([[0, 0, 0], [0.5, 0.5, 0.5]])))
    found = plan(items, tmp_path, split="extrapolate", group="none").resampling
    for seed in (0, 1):
        kinds = [{row % 5 for row in found.parts[seed, fold].test} for fold in range(5)]
        assert sorted(map(sorted, kinds)) == [[k] for k in range(5)]


def test_from_500_labels_on_there_is_one_test_part(tmp_path):
    assert is_resampled(own(tmp_path), FIXED_FROM - 1) and not is_resampled(own(tmp_path), FIXED_FROM)
    assert is_resampled(own(tmp_path, folds=10), 5000)
    assert is_resampled(own(tmp_path, split="extrapolate"), 5000)
    assert not is_resampled(own(tmp_path, folds=1), 60)
    assert not is_resampled(own(tmp_path, fold=2), 60)
    assert not is_resampled(own(tmp_path, task="jdft2d"), 60)


def test_one_test_part_chooses_its_counts_as_before(tmp_path):
    assert settled(own(tmp_path), 400, resampled=False).labels == [50, 100, 250]
    assert settled(own(tmp_path), 48, resampled=False).labels == [12, 24, 48]
    assert settled(own(tmp_path), 48, resampled=False).seeds == 5


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"labels": [250]}, r"Received: 250 labels asked for. Up to 48 fit: give --labels 12 24 48, or leave"),
        ({"task": "jdft2d", "folds": 5}, "official fold. Received: --folds 5"),
        ({"fold": 1, "folds": 5}, "--fold 1 is one test part"),
        ({"folds": 1, "group": "formula"}, "--group is for studies in which every crystal is tested"),
        ({"folds": 1, "fit_final": True}, "--fit-final is for studies"),
        ({"split": "time"}, "belong together"),
        ({"time_column": "year"}, "belong together"),
        ({"group": "nowhere"}, "'nowhere' was not found. Give it in --labels-file"),
        ({"arms": ["mine=a,b"]}, "Several pretrainings of an arm are compared on one test part. Received: mine"),
        ({"folds": 70}, "70 folds need as many groups by none. Received: 60"),
    ],
)
def test_mistakes_say_what_to_do(crystals, tmp_path, changes, text):
    with pytest.raises(InputError, match=text):
        plan(single(crystals, 60), tmp_path, **changes)


def test_too_few_labels_and_bad_cells_are_said(crystals, tmp_path):
    with pytest.raises(InputError, match=r"at least 10 labelled crystals. Received: 9"):
        plan(single(crystals, 9), tmp_path)
    items = single(crystals, 60)
    file = with_column(tmp_path, items, "year", lambda k: "" if k == 3 else k)
    with pytest.raises(InputError, match=f"1 have none, such as {items[3].id}"):
        plan(items, tmp_path, split="time", time_column="year", **file)
    file = with_column(tmp_path, items, "year", lambda k: "spring" if k == 3 else k)
    with pytest.raises(InputError, match=r"date such as 2024-05-31. Received in column 'year' for .*: spring"):
        plan(items, tmp_path, split="time", time_column="year", **file)
    file = with_column(tmp_path, items, "year", lambda k: 2000)
    with pytest.raises(InputError, match="Too many crystals have the same time"):
        plan(items, tmp_path, split="time", time_column="year", **file)


def test_many_structures_without_labels_are_learnt_from_once(crystals, tmp_path):
    few = plan(single(crystals, 60), tmp_path)
    assert not few.resampling.pretrains_once
    many_more = [replace(c, id=f"u{k}", labels={}) for k, c in enumerate(many(crystals, ENOUGH_UNLABELLED))]
    enough = plan([*single(crystals, 60), *many_more], tmp_path)
    assert enough.resampling.pretrains_once and not set(enough.parts.train) & set(enough.resampling.tested)


def test_pretraining_for_each_fold_is_short_unless_asked(crystals, tmp_path):
    items = single(crystals, 60)
    assert plan(items, tmp_path, pretrain={}).config.pretrain.steps == 300
    assert plan(items, tmp_path, pretrain={"steps": 4000}).config.pretrain.steps == 4000
    assert plan(items, tmp_path, pretrain={}, folds=1).config.pretrain.steps == 5000


def test_arms_are_compared_with_the_overlap_of_their_masks(crystals, tmp_path):
    """All labels of five folds: four fifths of the luck are common, whichever way they were drawn."""
    items = single(crystals, 60)
    found = plan(items, tmp_path)
    ids = [c.id for c in items]
    errors = np.random.default_rng(0).exponential(size=(2, 2, 60))
    mine = found.resampling.pairing(ids, found.masks)(*errors, 48)
    all_labels = compare_resampled(*errors, labels=48, overlap=0.8)
    assert (mine.ratio_low, mine.ratio_high) == pytest.approx((all_labels.ratio_low, all_labels.ratio_high))
    few = found.resampling.pairing(ids, found.masks)(*errors, 12)
    counts = Counter(row for key, rows in found.masks.items() if key[0] == 12 for row in rows.tolist())
    overlap = sum(count**2 for count in counts.values()) / 10**2 / 12
    by_hand = compare_resampled(*errors, labels=12, overlap=overlap)
    assert (few.ratio_low, few.ratio_high) == pytest.approx((by_hand.ratio_low, by_hand.ratio_high))


def test_groups_widen_the_interval_in_the_order_of_ids(crystals, tmp_path):
    items = many(crystals, 60)
    found = plan(items, tmp_path)
    ids = [c.id for c in items]
    order = sorted(range(60), key=lambda row: ids[row])
    errors = np.random.default_rng(0).exponential(size=(2, 2, 60))
    count = found.config.labels[-1]
    masks = {key: rows for key, rows in found.masks.items() if key[0] == count}
    formulas = np.unique([items[row].reduced_formula for row in order], return_inverse=True)[1]
    mine = found.resampling.pairing(ids, masks)(*errors, count)
    weights = np.array([len(found.resampling.parts[key[1:]].test) for key in masks]) / 120
    shares = np.zeros(60)
    for weight, rows in zip(weights, masks.values(), strict=True):
        shares[rows] += weight
    by_hand = compare_resampled(*errors, labels=count, overlap=float((shares**2).sum() / count), groups=formulas)
    assert (mine.ratio_low, mine.ratio_high) == pytest.approx((by_hand.ratio_low, by_hand.ratio_high))


def test_claim_tells_groups_and_folds_apart(crystals, tmp_path):
    items = Crystals(many(crystals, 60), targets=["y"])
    values = items.labels(["y"])[:, 0]
    facts = [resampling(items, values, own(tmp_path, group=g)).facts for g in ("formula", "none")]
    facts.append(resampling(items, values, own(tmp_path, group="formula", folds=4)).facts)
    assert len({str(sorted(f.items())) for f in facts}) == 3
    assert resampling(items, values, own(tmp_path, group="formula", seeds=4)).facts == facts[0]
