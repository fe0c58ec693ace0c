"""What has to be known of each of MatGL's property networks: where its vectors are, what comes before what."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from matgl_infomax import host
from matgl_infomax.errors import InputError


@dataclass(frozen=True)
class Tap:
    """A place inside a network where a tensor can be read while it runs."""

    module: str
    """Module by its path; a last part of -1 is the last of a list."""
    side: str
    """ "input" or "output" of that module."""
    index: int | None = None
    """Which of several outputs."""

    def on(self, network: nn.Module) -> nn.Module:
        """The module itself."""
        found: Any = network
        for part in self.module.split("."):
            found = found[-1] if part == "-1" else getattr(found, part)
        return found

    def read(self, given: tuple[Any, ...], returned: Any) -> Tensor:
        """The tensor among what the module was given and what it returned."""
        value = given[0] if self.side == "input" else returned
        # Read-outs take the graph itself on DGL, the tensor on PyG.
        value = value.ndata["node_feat"] if hasattr(value, "ndata") else value
        return value if self.index is None else value[self.index]


@dataclass(frozen=True)
class Known:
    """One of MatGL's networks. Modules a network was built without are left out of every list."""

    native: str
    """Name of the class in ``matgl.models``."""
    width: str
    """Argument that says how wide a site vector is."""
    site: Tap
    """Where the site vectors are."""
    crystal: Tap
    """Where the crystal vector is, in a network that has one."""
    element: str
    """Module with one vector per element, by its path."""
    input: Sequence[str]
    """Modules that are read first."""
    blocks: Sequence[str]
    """Lists of modules; those of the same place in their list belong to one block."""
    site_out: Sequence[str]
    """Modules between the last block and the site vectors."""
    pool: Sequence[str]
    """Modules between site vectors and crystal vector."""
    head: Sequence[str]
    """Modules above the crystal vector."""
    remedies: Mapping[str, Any] = field(default_factory=dict)
    """Constructor defaults that differ from MatGL's, because MatGL's meet a bug or give an extensive property."""


KNOWN: dict[str, Known] = {
    "megnet": Known(
        native="MEGNet",
        width="hidden_layer_sizes_conv",
        site=Tap("blocks.-1", "output", 1),
        crystal=Tap("output_proj", "input"),
        element="embedding.layer_node_embedding",
        input=("bond_expansion", "embedding", "edge_encoder", "node_encoder", "state_encoder"),
        blocks=("blocks",),
        site_out=(),
        pool=("edge_s2s", "node_s2s"),
        head=("output_proj",),
    ),
    "m3gnet": Known(
        native="M3GNet",
        width="dim_node_embedding",
        site=Tap("graph_layers.-1", "output", 1),
        crystal=Tap("final_layer", "input"),
        element="embedding.layer_node_embedding",
        input=("bond_expansion", "embedding", "basis_expansion"),
        blocks=("three_body_interactions", "graph_layers"),
        site_out=(),
        pool=("readout",),
        head=("final_layer",),
    ),
    "tensornet": Known(
        native="TensorNet",
        width="units",
        site=Tap("linear", "output"),
        crystal=Tap("final_layer", "input"),
        element="tensor_embedding.emb",
        input=("bond_expansion", "tensor_embedding"),
        blocks=("layers",),
        site_out=("out_norm", "linear"),
        pool=("readout",),
        head=("final_layer",),
    ),
    "chgnet": Known(
        native="CHGNet",
        width="dim_atom_embedding",
        site=Tap("atom_graph_layers.-1", "output", 0),
        crystal=Tap("final_layer", "input"),  # never read: CHGNet adds up predictions of sites
        element="atom_embedding",
        input=(
            "bond_expansion", "threebody_bond_expansion", "angle_expansion", "state_embedding", "atom_embedding",
            "bond_embedding", "angle_embedding", "atom_bond_weights", "bond_bond_weights", "threebody_bond_weights",
        ),
        blocks=("atom_graph_layers", "bond_graph_layers"),
        site_out=(),
        pool=(),
        head=("sitewise_readout", "final_layer"),
        # MatGL's default adds up over the sites, so that twice the cell has twice the property.
        remedies={"pooling_operation": "mean"},
    ),
    "so3net": Known(
        native="SO3Net",
        width="dim_node_embedding",
        site=Tap("readout", "input"),
        crystal=Tap("final_layer", "input"),
        element="embedding",
        input=("radial_basis", "embedding", "sphharm"),
        blocks=("so3convs", "mixings1", "mixings2", "mixings3", "gatings"),
        site_out=("so3product",),
        pool=("readout",),
        head=("final_layer",),
        # MatGL's default predicts every site of its own and has no crystal vector.
        remedies={"target_property": "graph"},
    ),
}  # fmt: skip
"""MatGL's networks by the name that ``--model`` takes."""


def name_of(network: nn.Module) -> str:
    """The name under which a network of MatGL is known here.

    Raises:
        InputError: For any other network.
    """
    for name, known in KNOWN.items():
        if type(network) is host.native_class(known.native):
            return name
    natives = ", ".join(known.native for known in KNOWN.values())
    raise InputError(f"A {type(network).__name__} cannot be used as an encoder. Known networks of MatGL: {natives}.")


def full_arguments(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor arguments of a new network: the user's, and the remedies where the user said nothing.

    Raises:
        InputError: For an unknown network, or an option that it does not have.
    """
    if name not in KNOWN:
        raise InputError(f"Unknown network {name!r}. Choose one of: {', '.join(KNOWN)}.")
    native = host.native_class(KNOWN[name].native)
    kinds = inspect.signature(native).parameters.values()
    known = [p.name for p in kinds if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "element_types"]
    unknown = [option for option in options if option not in known]
    if unknown:
        raise InputError(f"{native.__name__} has no option {', '.join(unknown)}. Options: {', '.join(known)}.")
    arguments = {**KNOWN[name].remedies, **options}
    if name == "m3gnet" and "threebody_cutoff" not in options:
        # Up to MatGL 4.0.3 a shorter cut-off for triples hands the triples of one bond to another bond: results
        # then depend on the order of the sites. With equal cut-offs all releases agree and are right.
        arguments["threebody_cutoff"] = options.get("cutoff", inspect.signature(native).parameters["cutoff"].default)
    return arguments


def build(name: str, element_types: Sequence[str], arguments: Mapping[str, Any]) -> Any:
    """A network of MatGL whose initial weights depend on nothing but the state of the random generator.

    Raises:
        InputError: If MatGL refuses the arguments, or the network has no vectors that can be read.
    """
    native = host.native_class(KNOWN[name].native)
    try:
        network: Any = native(element_types=tuple(element_types), **arguments)
    except (TypeError, ValueError, AssertionError, NotImplementedError) as error:
        raise InputError(f"MatGL cannot build {native.__name__} with {dict(arguments)}: {error}") from error
    if name == "so3net":
        if network.target_property not in ("graph", "atomwise"):
            raise InputError(f"SO3Net with target_property={network.target_property!r} cannot be used as an encoder.")
        # The first element's vector would be zero for ever: MatGL takes it for padding.
        network.embedding.padding_idx = None
    if name == "megnet" and not network.include_state_embedding:
        raise InputError("MEGNet without a state fails in every release of MatGL. Leave include_state as it is.")
    if name == "m3gnet" and network.include_state and network.threebody_cutoff < network.cutoff:
        # Its bonds have to be put in another order, and a state needs those of a crystal side by side.
        raise InputError("M3GNet with include_state needs threebody_cutoff = cutoff, or MatGL mixes up its triples.")
    _reset_in_order(network)
    for module in network.modules():
        for key, constant in [(k, p) for k, p in module.named_parameters(recurse=False) if not p.requires_grad]:
            # Places of basis functions, saved under the same name but never to be trained, however weights are frozen.
            delattr(module, key)
            module.register_buffer(key, constant.detach())
    return network


def _reset_in_order(network: nn.Module) -> None:
    """Draw all weights anew, one layer after the other.

    Up to 3.0.5 on DGL, MatGL makes lists of blocks out of sets: which block comes first, and so which random numbers
    it got, differs from process to process.
    """
    for module in network.modules():
        if isinstance(module, (nn.Linear, nn.Embedding, nn.LSTM, nn.LayerNorm)):
            module.reset_parameters()
    # TensorNet draws some of its layers in a way of its own.
    own = getattr(network, "reset_parameters", None)
    if own is not None:
        own()


def wrong_forces(name: str) -> str | None:
    """Why the gradients of a network are no forces, none where they are.

    On DGL MatGL computes CHGNet's angles without gradients: its forces differ from its energies' differences by up to
    a few thousandths.
    """
    if name == "chgnet" and host.BACKEND == "DGL":
        return "With DGL, MatGL leaves the angles out of CHGNet's forces; on PyG (MATGL_BACKEND=PYG) they are right."
    return None


def has_crystal_vector(network: Any) -> bool:
    """Whether there is one: potentials and CHGNet predict each site and add up."""
    return getattr(network, "is_intensive", True) and getattr(network, "target_property", "graph") == "graph"


def site_tap(name: str, network: nn.Module) -> Tap:
    """Where the site vectors of this very network are."""
    # SO3Net returns them from no module; they are what the next module takes.
    if name == "so3net" and not hasattr(network, "readout"):
        return KNOWN[name].crystal
    return KNOWN[name].site


def element_vectors(name: str, network: Any) -> nn.Embedding:
    """The module that gives every site the vector of its element."""
    found: nn.Embedding = network.get_submodule(KNOWN[name].element)
    return found


def widths(name: str, network: Any) -> tuple[int, int]:
    """Width of the site vectors and of the crystal vector."""
    width = network._init_args[KNOWN[name].width]
    site = int(width if isinstance(width, int) else width[-1])
    if not has_crystal_vector(network):
        return site, site
    head = KNOWN[name].crystal.on(network)
    return site, next(module.in_features for module in head.modules() if isinstance(module, nn.Linear))


def state_of(network: Any, n_crystals: int, like: Tensor) -> Tensor | None:
    """The state that MatGL's networks take beside a graph: zeros as from MatGL's converters, or the first state.

    Args:
        network: a network of MatGL.
        n_crystals: number of crystals B.
        like: a tensor of the precision and device wanted.
    """
    arguments = network._init_args
    if not arguments.get("include_state", arguments.get("dim_state_feats") is not None):
        return None
    if arguments.get("ntypes_state") or "num_blocks" in arguments:
        return torch.zeros(n_crystals, dtype=torch.long, device=like.device)
    width = 2 if arguments.get("dim_state_feats") else arguments["dim_state_embedding"]
    return like.new_zeros(n_crystals, width)


def groups_of(name: str, network: nn.Module) -> dict[str, list[nn.Module]]:
    """Modules by depth, from the input to MatGL's own head."""
    known = KNOWN[name]

    def present(names: Sequence[str]) -> list[nn.Module]:
        found = (getattr(network, name, None) for name in names)
        return [module for module in found if isinstance(module, nn.Module)]

    groups = {"input": present(known.input)}
    blocks: list[Any] = present(known.blocks)
    for block in blocks:
        for place, module in enumerate(block):
            groups.setdefault(f"block{place}", []).append(module)
    groups |= {"site": present(known.site_out), "pool": present(known.pool), "head": present(known.head)}
    return groups
