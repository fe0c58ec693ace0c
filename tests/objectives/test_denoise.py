"""Denoising: both losses from their formulas, what noise does to a distance, and answers that turn with the crystal."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import layer_norm, mish

from matgl_infomax.contracts import example_crystals, radius_batch
from matgl_infomax.errors import InputError
from matgl_infomax.objectives import denoise, new_objective
from matgl_infomax.objectives.denoise import centred, expected_change, summed
from matgl_infomax.objectives.perturb import strengths
from tests.helpers.build import generator
from tests.helpers.objective_formulas import CLOSE, made, recorded, rows_of, small_batch, small_encoder


def answers(objective, vectors, noisy):
    """What the head of a denoising objective says of each asked pair, from the concatenated bond vector."""
    layer, reach = objective.pair, objective.settings.reach_angstrom
    step = reach / 15
    found = {}
    for e, d in noisy.items():
        i, j, distance = d
        basis = torch.tensor([math.exp(-0.5 * ((distance - k * step) / step) ** 2) for k in range(16)]).double()
        hidden = mish(layer.linear(torch.cat([vectors[i], vectors[j], basis])))
        hidden = layer_norm(hidden, hidden.shape, layer.norm.weight, layer.norm.bias)
        found[e] = float(objective.out(hidden).detach())
    return found


def noisy_pairs(batch, shift, strain, reach):
    """Receiver, neighbour, noisy distance, direction and clean distance of each asked pair, from the positions."""
    found = {}
    for e in range(batch.n_pairs):
        i, j, clean = int(batch.src[e]), int(batch.dst[e]), float(batch.distance[e])
        if not 0 < clean <= reach:
            continue
        lattice = batch.lattice[int(batch.owner[i])]
        lattice = lattice if strain is None else lattice + lattice @ strain[int(batch.owner[i])]
        step = (batch.frac[j] + batch.offset[e] - batch.frac[i]) @ lattice + shift[j] - shift[i]
        found[e] = (i, j, float(step.norm()), (step / step.norm()).numpy(), clean)
    return found


@pytest.mark.parametrize("strain_size", [0.0, 0.02])
def test_denoised_distances(strain_size, monkeypatch):
    encoder, batch = small_encoder(), small_batch()
    objective = made("denoise", encoder, strain=strain_size)
    kept = recorded(monkeypatch, denoise, "displacements", "strains", "within")
    noise = objective.settings
    sizes = strengths(batch, noise.least_angstrom, noise.most_angstrom, generator())
    loss, parts = objective.loss(encoder, batch, generator())
    strain = kept["strains"][0] if strain_size else None
    pairs = noisy_pairs(batch, kept["displacements"][0], strain, 5.0)
    vectors = encoder.encode_sites(kept["within"][0]).vector
    told = answers(objective, vectors, {e: p[:3] for e, p in pairs.items()})
    error, blind = [], []
    for k in range(batch.n_crystals):
        mine = [e for e, p in pairs.items() if int(batch.owner[p[0]]) == k]
        wanted = {
            e: (pairs[e][4] - pairs[e][2]) / math.sqrt(2 * float(sizes[k]) ** 2 + (strain_size * pairs[e][4]) ** 2)
            for e in mine
        }
        error.append(sum(abs(told[e] - wanted[e]) for e in mine) / len(mine))
        blind.append(sum(abs(wanted[e]) for e in mine) / len(mine))
    assert float(loss.detach()) == pytest.approx(np.mean(error), **CLOSE)
    assert float(parts["blind"]) == pytest.approx(np.mean(blind), **CLOSE)


def test_denoised_coordinates(monkeypatch):
    encoder, batch = small_encoder(), small_batch()
    objective = made("denoise", encoder, "coordinates")
    kept = recorded(monkeypatch, denoise, "displacements", "within")
    loss, _ = objective.loss(encoder, batch, generator())
    shift = kept["displacements"][0]
    pairs = noisy_pairs(batch, shift, None, 5.0)
    told = answers(objective, encoder.encode_sites(kept["within"][0]).vector, {e: p[:3] for e, p in pairs.items()})
    vector = np.zeros((batch.n_sites, 3))
    for e, p in pairs.items():
        vector[p[0]] += told[e] * p[3]
    wanted = -shift.numpy() / 0.04
    error = []
    for k in range(batch.n_crystals):
        rows = rows_of(batch, k)
        off = (vector[rows] - vector[rows].mean(0)) - (wanted[rows] - wanted[rows].mean(0))
        error.append(np.abs(off).mean())
    assert float(loss.detach()) == pytest.approx(np.mean(error), **CLOSE)


def test_expected_change_is_what_noise_does_to_a_distance():
    """Against the spread of a long bond whose two ends are moved and whose cell is strained, ten thousand times."""
    size, strain, bond = 0.03, 0.02, np.array([3.0, 0.0, 0.0])
    rng = np.random.default_rng(0)
    moves = rng.normal(0, size, (10_000, 2, 3))
    stretch = rng.normal(0, strain, (10_000, 3, 3))
    moved = bond + bond @ stretch + moves[:, 1] - moves[:, 0]
    spread = np.std(np.linalg.norm(moved, axis=1))
    found = expected_change(torch.tensor([size]), torch.tensor([3.0]), strain)
    assert float(found) == pytest.approx(spread, rel=0.03)
    assert float(expected_change(torch.tensor([size]), torch.tensor([3.0]), 0.0)) == pytest.approx(math.sqrt(2) * size)


def test_answers_along_pairs_turn_with_the_crystal():
    crystal = example_crystals()[5]
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    batch = radius_batch([crystal], 4.0)
    turned = radius_batch([replace(crystal, lattice=crystal.lattice @ turn)], 4.0)
    answer = torch.linspace(-1, 1, batch.n_pairs, dtype=torch.float64)
    vectors = summed(answer, batch)
    assert float(vectors.abs().max()) > 0.1
    torch.testing.assert_close(summed(answer, turned), vectors @ torch.from_numpy(turn))


@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_pair_of_any_length_adds_its_answer_along_a_vector_of_length_one(scale):
    """Bonds of a few tenths of an angstrom count as long ones do, and a site beside itself adds nothing."""
    batch = small_batch()
    batch = replace(batch, lattice=scale * batch.lattice, distance=scale * batch.distance)
    answer = torch.linspace(-1, 1, batch.n_pairs, dtype=torch.float64)
    expected = np.zeros((batch.n_sites, 3))
    for e in range(batch.n_pairs):
        i, j = int(batch.src[e]), int(batch.dst[e])
        step = ((batch.frac[j] + batch.offset[e] - batch.frac[i]) @ batch.lattice[int(batch.owner[i])]).numpy()
        if np.linalg.norm(step) > 0:
            expected[i] += float(answer[e]) * step / np.linalg.norm(step)
    # Kept distances are in single precision.
    np.testing.assert_allclose(summed(answer, batch).numpy(), expected, rtol=1e-6, atol=1e-6)
    assert (batch.distance == 0).any(), "a site stands beside itself"


def test_asked_are_all_pairs_but_a_site_with_itself_up_to_the_reach(monkeypatch):
    """Also the shortest bond there is, 0.74 angstrom of hydrogen, and a pair at the reach itself."""
    encoder, batch = small_encoder(), small_batch()
    short = 0.74 / float(batch.distance[batch.distance > 0].min())
    batch = replace(batch, lattice=short * batch.lattice, distance=short * batch.distance)
    reach = float(batch.distance.sort().values[batch.n_pairs // 2])
    kept = recorded(monkeypatch, denoise, "keep_pairs")
    made("denoise", encoder, reach_angstrom=reach).loss(encoder, batch, generator())
    asked = sorted(float(d) for d in batch.distance if 0 < float(d) <= reach)
    assert asked[0] < 0.75 and asked[-1] == reach
    assert kept["keep_pairs"][-1].n_pairs == len(asked)


def test_moving_all_atoms_together_asks_for_nothing():
    batch = small_batch()
    drift = torch.arange(3.0 * batch.n_crystals, dtype=torch.float64).view(-1, 3)[batch.owner]
    assert float(centred(drift, batch).abs().max()) < 1e-12
    alone = batch.size[batch.owner] == 1
    assert alone.any() and not centred(torch.ones_like(drift), batch)[alone].any(), "one atom is its own mean"


def test_noise_whose_weakest_is_the_strongest_is_refused():
    with pytest.raises(InputError, match=r"least_angstrom 0\.4 is above most_angstrom 0\.2"):
        new_objective(small_encoder(), "denoise", "default", {"least_angstrom": 0.4, "most_angstrom": 0.2})


@pytest.mark.parametrize(("preset", "strain_size"), [("default", 0.05), ("coordinates", 0.0)])
def test_the_network_reads_the_noisy_crystal(preset, strain_size, monkeypatch):
    """Every distance that the network is shown is that of the moved atoms in the strained cell, none a clean one."""
    encoder, batch, shown = small_encoder(), small_batch(), []
    objective = made("denoise", encoder, preset, strain=strain_size, least_angstrom=0.2, most_angstrom=0.4)
    kept = recorded(monkeypatch, denoise, "displacements", "strains")
    real = encoder.encode_sites
    monkeypatch.setattr(encoder, "encode_sites", lambda read: shown.append(read) or real(read))
    objective.loss(encoder, batch, generator())
    shift, strain = kept["displacements"][0], kept["strains"][0] if strain_size else None
    (read,) = shown
    clean = {
        (int(i), int(j), *map(float, o)): float(d)
        for i, j, o, d in zip(batch.src, batch.dst, batch.offset, batch.distance, strict=True)
    }
    moved_by = []
    for e in range(read.n_pairs):
        i, j = int(read.src[e]), int(read.dst[e])
        lattice = batch.lattice[int(batch.owner[i])]
        lattice = lattice if strain is None else lattice + lattice @ strain[int(batch.owner[i])]
        step = (batch.frac[j] + read.offset[e] - batch.frac[i]) @ lattice + shift[j] - shift[i]
        assert float(read.distance[e]) == pytest.approx(float(step.norm()), abs=1e-9)
        moved_by.append(abs(float(read.distance[e]) - clean[i, j, *map(float, read.offset[e])]))
    assert np.median([m for m in moved_by if m > 0]) > 0.02, "the noise is large enough to tell noisy from clean"
