"""From an encoder to one of MatGL's potentials: a network whose energy is a sum over sites, its derivatives forces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from matgl_infomax import host
from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.forces import GPA_OF, EnergyScale
from matgl_infomax.errors import InputError
from matgl_infomax.nn import matgl_net

SUMS: dict[str, dict[str, Any]] = {
    "m3gnet": {"is_intensive": False},
    "tensornet": {"is_intensive": False},
    "chgnet": {"pooling_operation": "sum"},
}
"""Networks that make force fields, with the arguments that turn their property into a sum over sites."""


class Told(NamedTuple):
    """What a potential says of B crystals."""

    energy: Tensor  # (B,)      eV, of the whole cell
    forces: Tensor  # (N, 3)    eV/angstrom
    stress: Tensor  # (B, 3, 3) stress times volume per atom, eV, negative under compression


def check_forces(name: str) -> None:
    """Refuse a network that makes no force field.

    Raises:
        InputError: For Site-Net, MEGNet and SO3Net, and for CHGNet where its forces are wrong.
    """
    reason = matgl_net.wrong_forces(name)
    if reason:
        raise InputError(f"{reason} For a force field take PyG, or one of: m3gnet, tensornet.")
    if name not in SUMS:
        raise InputError(
            f"{name} makes no force field: MatGL's Potential needs an energy that is a sum over sites within a "
            f"cut-off. Take one of: {', '.join(SUMS)}."
        )


def energy_network(name: str, element_types: Sequence[str], arguments: Mapping[str, Any], seed: int) -> Any:
    """A fresh network of MatGL whose output is an energy, its weights decided by the seed alone.

    Args:
        name: one of ``SUMS``.
        element_types: elements in the order of the node types.
        arguments: constructor arguments of MatGL's network.
        seed: seed of the initial weights.

    Raises:
        InputError: If the network makes no force field.
    """
    check_forces(name)
    arguments = {**arguments, **SUMS[name]}
    cutoff, triples = arguments.get("cutoff", 5.0), arguments.get("threebody_cutoff")
    if name == "m3gnet" and triples is not None and triples < cutoff:
        # A potential runs in MatGL's own code, where nobody puts short bonds first.
        raise InputError(
            f"M3GNet with threebody_cutoff={triples} below cutoff={cutoff} gives energies that depend on the order of "
            "the sites in MatGL up to 4.0.3. Take equal cut-offs."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return matgl_net.build_network(name, element_types, arguments)


def take_over(network: nn.Module, name: str, pretrained: Any) -> list[nn.Parameter]:
    """Give a network the weights of a pretrained one below the read-out, which starts afresh as in Gao et al. 2022.

    Args:
        network: gets the weights.
        name: which network both are.
        pretrained: MatGL's network inside the encoder.

    Returns:
        The weights that were taken over.

    Raises:
        InputError: If a weight below the read-out has no counterpart.
    """
    groups = matgl_net.groups_of(name, network)
    fresh = {id(p) for part in ("pool", "head") for module in groups[part] for p in module.parameters()}
    learnt = [(key, p) for key, p in network.named_parameters() if id(p) not in fresh]
    state = pretrained.state_dict()
    strange = [key for key, p in learnt if key not in state or state[key].shape != p.shape]
    if strange:
        raise InputError(f"The encoder's weights do not fit a force field: {', '.join(strange)}.")
    with torch.no_grad():
        for key, p in learnt:
            p.copy_(state[key])
    return [p for _, p in learnt]


def new_potential(network: Any, scale: EnergyScale) -> host.Potential:
    """MatGL's potential around a network: its output is in units of the scale, element energies are added.

    Args:
        network: gives a sum over sites.
        scale: element energies and unit of the labels.
    """
    numbers = host.atomic_numbers(network.element_types)
    reference = torch.tensor(scale.reference[numbers] + scale.mean, dtype=torch.float32)  # (K,)
    return host.Potential(network, data_std=torch.tensor(scale.unit), element_refs=reference)


def tell(potential: host.Potential, batch: SiteBatch) -> Told:
    """Energies, forces and stresses of some crystals; in training mode they can be differentiated once more.

    Args:
        potential: MatGL's.
        batch: crystals with geometry, their pairs within the cut-off.
    """
    network: Any = host.inner_network(potential)
    graph = host.batch_to_graph(batch, network.element_types)
    state = matgl_net.state_of(network, batch.n_crystals, batch.distance)
    lattice: Any = batch.lattice
    with torch.enable_grad(), host.precision(batch.distance.dtype):
        energy, forces, stress, *_ = potential(graph, lattice, state)
    if hasattr(network, "feature_dict"):
        network.feature_dict = {}  # MatGL 4 keeps the tensors of the last pass, and then cannot be copied
    volume = torch.linalg.det(lattice).abs() / batch.size / GPA_OF["eV/A3"]  # (B,) per atom
    return Told(energy.reshape(-1), forces, stress.reshape(-1, 3, 3) * volume.view(-1, 1, 1))
