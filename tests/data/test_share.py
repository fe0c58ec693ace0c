"""InfoMax shared by two processes is InfoMax of one: the same losses and gradients, whoever holds which crystals."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import torch
from torch import multiprocessing

from matgl_infomax.data import share as module
from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.share import Share, part
from matgl_infomax.nn.sitenet import SiteNet
from matgl_infomax.objectives.infomax import InfoMax
from tests.helpers.build import batch_of, store_of
from tests.helpers.two_processes import losses_and_gradients, mean_over_two

EVERYTHING = list(range(12))
CASES = {  # preset, options, crystals of the batch
    "default": ("default", {}, EVERYTHING),
    "not greedy": ("default", {"greedy": False}, EVERYTHING),
    "published": ("published", {}, EVERYTHING),
    "published, not greedy": ("published", {"greedy": False}, EVERYTHING),
    "composition by rows": ("published", {"composition": "rows", "padding": "none"}, EVERYTHING),
    "foreign only": ("default", {"extra_negatives": False, "greedy": False}, EVERYTHING),
    "no sampling": ("default", {"kl_weight": 0.0, "greedy": False}, EVERYTHING),
    "shares of unequal size": ("default", {"greedy": False}, [0, 1, 2, 3, 4, 5, 8]),
    "a process without crystals": ("default", {"greedy": False}, EVERYTHING),
}


def share_of(case: str, batch: SiteBatch, rank: int, ranks: int) -> Share:
    """Whose crystals are whose; in one case the first process has them all."""
    with pytest.MonkeyPatch.context() as patch:
        if case == "a process without crystals":
            patch.setattr(module, "cuts", lambda batch, n: [0, *[batch.n_crystals] * n])
        return Share.of(batch, rank, ranks)


def step(case: str, batch: SiteBatch, rank: int, ranks: int) -> dict[str, torch.Tensor]:
    """Losses and gradients of one process."""
    preset, options, _ = CASES[case]
    encoder = SiteNet.from_preset("compact", seed=0).double()
    torch.manual_seed(1)
    objective = InfoMax.for_encoder(encoder, preset, options).double()
    return losses_and_gradients(encoder, objective, batch, share_of(case, batch, rank, ranks))


def work(rank: int, folder: Path) -> None:
    """One of two processes, a batch of its own for every case."""
    mean_over_two(rank, folder, step, torch.load(folder / "batches.pt", weights_only=False))


@pytest.fixture
def batches(crystals, tmp_path):
    chosen = {str(rows): [crystals[row] for row in rows] for _, _, rows in CASES.values()}
    made = {key: batch_of(items, tmp_path / "cache", double=True) for key, items in chosen.items()}
    return {case: made[str(rows)] for case, (_, _, rows) in CASES.items()}


@pytest.mark.slow
def test_two_processes_give_the_losses_and_gradients_of_one(batches, tmp_path):
    torch.save(batches, tmp_path / "batches.pt")
    multiprocessing.start_processes(work, (tmp_path,), nprocs=2, start_method="spawn")
    shared = torch.load(tmp_path / "results.pt", weights_only=True)
    for case, batch in batches.items():
        alone = step(case, batch, 0, 1)
        assert alone.keys() == shared[case].keys()
        for name, value in alone.items():
            difference = float((shared[case][name] - value).abs().max())
            # Some gradients are exactly zero (softmax forgets a shift), up to rounding.
            assert difference <= 1e-9 * float(value.abs().max()) + 1e-13, (case, name)


def test_the_cases_are_what_their_names_say(batches):
    own = {case: [share_of(case, batch, rank, 2).own.n_crystals for rank in (0, 1)] for case, batch in batches.items()}
    assert len(set(own["shares of unequal size"])) == 2
    assert own["a process without crystals"] == [12, 0]


@pytest.mark.parametrize("ranks", [2, 3, 5, 40])
def test_shares_cover_the_batch_once_and_are_balanced(ranks, batches):
    batch = batches["default"]
    shares = [Share.of(batch, rank, ranks) for rank in range(ranks)]
    assert [row for s in shares for row in range(batch.n_crystals)[s.crystals]] == list(range(batch.n_crystals))
    assert torch.equal(torch.cat([s.own.number for s in shares]), batch.number)
    assert torch.equal(torch.cat([s.own.distance for s in shares]), batch.distance)
    largest = int(torch.bincount(batch.owner[batch.src]).max())
    assert max(s.own.n_pairs for s in shares) <= batch.n_pairs / ranks + largest + batch.n_crystals


@pytest.mark.parametrize("view", ["full", "merged", "both"])
def test_a_part_is_the_batch_of_these_crystals_alone(view, crystals, tmp_path):
    store = store_of(crystals, tmp_path)
    whole, alone = (store.batch(rows, geometry=view != "merged", view=view) for rows in (range(12), [3, 4, 5, 6]))
    cut = part(whole, 3, 7)
    assert_equal(cut, alone)
    assert torch.equal(cut.degree, alone.degree)
    assert part(whole, 4, 4).n_sites == 0


def test_mean_over_processes_is_the_mean_over_crystals(batches):
    batch = batches["default"]
    value = torch.arange(batch.n_sites, dtype=torch.float64)
    shares = [Share.of(batch, rank, 3) for rank in range(3)]
    mean = sum(float(s.mean_of_sites(value[s.sites])) for s in shares) / 3
    assert mean == pytest.approx(float(Share.of(batch).mean_of_sites(value)), rel=1e-12)


def assert_equal(ours, theirs):
    """Field by field; a batch may hold another one."""
    if isinstance(theirs, SiteBatch):
        for field in fields(SiteBatch):
            assert_equal(getattr(ours, field.name), getattr(theirs, field.name))
    elif isinstance(theirs, torch.Tensor):
        assert torch.equal(ours, theirs)
    else:
        assert ours == theirs
