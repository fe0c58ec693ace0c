"""Force fields made here are MatGL's potentials: their forces and stresses are derivatives of their energies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from matgl_infomax import host
from matgl_infomax.api import forcefield
from matgl_infomax.contracts import radius_batch
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.forces import EnergyScale
from matgl_infomax.errors import InputError
from matgl_infomax.nn import matgl_net
from matgl_infomax.nn.potential import Told, energy_network, new_potential, tell
from matgl_infomax.nn.sitenet import ELEMENTS
from matgl_infomax.settings.training import ModelSettings
from tests.helpers.pair_potential import COLUMNS, CUTOFF, ELEMENT, RIGHT, SMALL, frames


def potential_of(name: str, cutoff: float | None = None) -> host.Potential:
    options = SMALL[name] if cutoff is None else {**SMALL[name], "cutoff": cutoff}
    network = energy_network(name, ELEMENTS, matgl_net.full_arguments(name, options), seed=3)
    potential = new_potential(network, EnergyScale(ELEMENT, -0.5, 2.0)).double().eval()
    draw = torch.Generator().manual_seed(5)
    for parameter in potential.parameters():
        # Initial weights give almost no forces.
        parameter.data.add_(torch.randn(parameter.shape, generator=draw, dtype=torch.float64), alpha=0.1)
    return potential


def told(potential: host.Potential, crystal: Crystal, cutoff: float) -> Told:
    return Told(*(value.detach() for value in tell(potential, radius_batch([crystal], cutoff))))


@pytest.mark.parametrize("name", RIGHT)
def test_forces_and_stresses_are_finite_differences(name, crystals):
    crystal, cutoff = crystals[11], CUTOFF[name]
    potential = potential_of(name)
    found = told(potential, crystal, cutoff)

    def energy(frac, lattice):
        return float(told(potential, replace(crystal, frac=frac, lattice=lattice), cutoff).energy)

    step, largest = 1e-4, float(found.forces.abs().max())
    assert largest > 1e-4
    for site, axis in ((0, 0), (1, 1), (2, 2)):
        move = np.zeros((3, 3))
        move[site, axis] = step
        move = move @ np.linalg.inv(crystal.lattice)
        up, down = (energy(crystal.frac + sign * move, crystal.lattice) for sign in (1, -1))
        assert float(found.forces[site, axis]) == pytest.approx((down - up) / (2 * step), rel=1e-3, abs=1e-3 * largest)
    assert float(found.forces.sum(0).abs().max()) < 1e-6 * largest
    for row, column in ((0, 0), (1, 1), (0, 1), (1, 2)):
        strain = np.zeros((3, 3))
        strain[row, column] = step
        up, down = (energy(crystal.frac, crystal.lattice @ (np.eye(3) + s * strain)) for s in (1, -1))
        work = float(found.stress[0, row, column]) * crystal.n_sites
        assert work == pytest.approx((up - down) / (2 * step), rel=1e-3, abs=1e-3 * float(found.stress.abs().max()))


@pytest.mark.parametrize("name", RIGHT)
def test_forces_turn_with_the_crystal_and_vanish_where_symmetry_says_so(name, crystals):
    potential, cutoff = potential_of(name), CUTOFF[name]
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    one = told(potential, crystals[11], cutoff)
    other = told(potential, replace(crystals[11], lattice=crystals[11].lattice @ turn), cutoff)
    turned = torch.from_numpy(turn)
    torch.testing.assert_close(other.energy, one.energy, rtol=0, atol=1e-6)
    torch.testing.assert_close(other.forces, one.forces @ turned, rtol=0, atol=1e-6 * float(one.forces.abs().max()))
    scale = 1e-6 * float(one.stress.abs().max())
    torch.testing.assert_close(other.stress[0], turned.T @ one.stress[0] @ turned, rtol=0, atol=scale)
    salt = told(potential, crystals[2], cutoff)
    assert float(salt.forces.abs().max()) < 1e-7 * float(one.forces.abs().max())
    isotropic = torch.diag(salt.stress[0]).mean() * torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(salt.stress[0], isotropic, rtol=0, atol=scale)


@pytest.mark.skipif(host.BACKEND != "DGL", reason="on PyG CHGNet's forces are right")
def test_chgnet_on_dgl_has_wrong_forces_and_is_refused(crystals, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="leaves the angles out of CHGNet's forces"):
        forcefield(frames(crystals), COLUMNS, tmp_path / "out", model=ModelSettings(name="chgnet"), progress=False)
    monkeypatch.setattr(matgl_net, "wrong_forces", lambda name: None)
    potential, crystal = potential_of("chgnet"), replace(crystals[11], lattice=0.8 * crystals[11].lattice)
    found = told(potential, crystal, 6.0)
    wrong = []
    for site in range(3):
        for axis in range(3):
            move = np.zeros((3, 3))
            move[site, axis] = 1e-4
            shifted = [crystal.frac + s * move @ np.linalg.inv(crystal.lattice) for s in (1, -1)]
            up, down = (float(told(potential, replace(crystal, frac=frac), 6.0).energy) for frac in shifted)
            wrong.append(abs((down - up) / 2e-4 - float(found.forces[site, axis])))
    assert max(wrong) > 1e-5 * float(found.forces.abs().max()), "MatGL has mended it: take the refusal away"


def test_triples_shorter_than_pairs_are_refused():
    with pytest.raises(InputError, match="order of the sites"):
        energy_network("m3gnet", ELEMENTS, {**SMALL["m3gnet"], "threebody_cutoff": 3.0}, seed=0)
