"""MatGL's own property networks as encoders: site vectors, a crystal vector, and a head on top.

The network inside stays MatGL's: saved by itself, it opens with ``matgl.load_model`` where this package is unknown.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from matgl_infomax import host
from matgl_infomax.data.batch import SiteBatch, segment_mean
from matgl_infomax.data.radius import RadiusRule
from matgl_infomax.errors import InputError
from matgl_infomax.graphs import short_first, with_company
from matgl_infomax.nn.layers import OUTPUTS, Head
from matgl_infomax.nn.property_model import Encoding, PropertyModel
from matgl_infomax.nn.sitenet import ELEMENTS, Level, SiteInput


class MatGLNet(PropertyModel):
    """Predict properties of a crystal, or its vector, with MEGNet, M3GNet, TensorNet, CHGNet or SO3Net.

    Use ``MatGLNet.new`` for a fresh network and ``MatGLNet.from_native`` for one that MatGL loaded; the arguments
    below are what a checkpoint stores, all of them plain values.

    ``network`` is MatGL's network. Its own head predicts nothing here and is never trained: in a pretrained network
    that is handed over to MatGL it has its initial weights.

    Args:
        name: "megnet", "m3gnet", "tensornet", "chgnet" or "so3net".
        element_types: elements in the order of the graph's node types.
        arguments: constructor arguments of MatGL's network.
        head_widths: hidden layers of the head.
        n_targets: number of properties predicted at once.
        activation: activation of the head.
        output: "identity", "transparent_relu" for properties that are never negative, or "probability" of a class.
    """

    __version__ = 1
    separable: ClassVar[bool] = False
    """The crystal vector cannot be computed from site vectors alone."""
    reads: ClassVar[Literal["distances", "geometry"]] = "geometry"
    """What it needs of a crystal: where the sites are."""

    def __init__(
        self,
        name: str,
        element_types: Sequence[str] = ELEMENTS,
        arguments: Mapping[str, Any] | None = None,
        head_widths: Sequence[int] = (64,),
        n_targets: int = 1,
        activation: str = "mish",
        output: str = "identity",
    ) -> None:
        super().__init__()
        arguments = dict(arguments or {})
        self.save_args(locals())
        if output not in OUTPUTS:
            raise InputError(f"Unknown output {output!r}. Choose one of: {', '.join(OUTPUTS)}.")
        self.name, self.element_types = name, tuple(element_types)
        self.n_targets, self.output = n_targets, output
        self.network: Any = build_network(name, self.element_types, arguments)
        site, crystal = widths(name, self.network)
        self.site_hidden_width = self.site_vector_width = site
        self.crystal_hidden_width = self.crystal_vector_width = crystal
        self.site_input = SiteInput(0, "infomax")
        self.head = Head(crystal, head_widths, n_targets, activation)
        numbers = torch.tensor(host.atomic_numbers(self.element_types))
        self.register_buffer("numbers_of_type", numbers, persistent=False)
        # The normaliser travels with the weights, so that a saved model predicts in physical units.
        self.register_buffer("target_mean", torch.zeros(n_targets))
        self.register_buffer("target_std", torch.ones(n_targets))

    @classmethod
    def new(
        cls,
        name: str,
        *,
        element_types: Sequence[str] = ELEMENTS,
        n_targets: int = 1,
        seed: int = 0,
        options: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> MatGLNet:
        """A fresh network, its initial weights decided by the seed alone.

        Args:
            name: which of MatGL's networks.
            element_types: elements in the order of the graph's node types.
            n_targets: number of properties.
            seed: seed of the initial weights; the global random state is left as it was.
            options: constructor arguments of MatGL's network that differ from its defaults.
            **changes: further arguments of this class.

        Raises:
            InputError: For an unknown network or option.
        """
        arguments = full_arguments(name, options or {})
        given = {"element_types": tuple(element_types), "arguments": arguments, "n_targets": n_targets, **changes}
        return cls.seeded(seed, name=name, **given)

    @classmethod
    def seeded(cls, seed: int, **arguments: Any) -> MatGLNet:
        """A network with the constructor's arguments, its initial weights decided by the seed alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(**arguments)

    @classmethod
    def from_native(cls, model: nn.Module, *, n_targets: int = 1, seed: int = 0, **changes: Any) -> MatGLNet:
        """Take over the weights of a network that MatGL made or loaded: a property model, or a potential's.

        Args:
            model: MatGL's network or ``Potential``; left as it is.
            n_targets: number of properties.
            seed: seed of the head.
            **changes: further arguments of this class.

        Raises:
            InputError: For any other network, or if some weight has no counterpart; their names are listed.
        """
        native: Any = host.inner_network(model)
        name = name_of(native)
        arguments = {key: value for key, value in native._init_args.items() if key != "element_types"}
        given = {"element_types": tuple(native.element_types), "arguments": arguments, "n_targets": n_targets}
        net = cls.seeded(seed, name=name, **given, **changes)
        host.load_exactly(net.network, native.state_dict(), f"this {type(native).__name__}")
        return net.to(next(native.parameters()).dtype)

    @property
    def init_args(self) -> dict[str, Any]:
        """The constructor's arguments, as a checkpoint stores them."""
        return dict(self._init_args)

    @property
    def edges(self) -> RadiusRule:
        """How crystals become pairs: all neighbours within the network's cut-off."""
        return RadiusRule(float(self.network.cutoff))

    @property
    def reach_angstrom(self) -> float | None:
        """Longest distance of a pair that it may be shown, angstrom."""
        return float(self.network.cutoff)

    @property
    def wrong_forces(self) -> str | None:
        """Why gradients with respect to positions are not those of its energies; none where they are."""
        return wrong_forces(self.name)

    @property
    def site_features(self) -> int:
        """Number of fixed features per site, the raw input that objectives may predict."""
        return self.site_input.properties_width

    def raw_sites(self, batch: SiteBatch) -> Tensor:
        """Fixed features of the sites, (N, F): elemental properties, no learned vector."""
        return self.site_input.properties(batch.number)

    def encode_levels(self, batch: SiteBatch) -> tuple[Level, Level]:
        """Sites (N, D) and crystals (B, C) in one pass; hidden vector and vector are the same here.

        Args:
            batch: crystals with geometry, their pairs those of ``edges``.

        Raises:
            InputError: For a batch without geometry, or an element that the network does not know.
        """
        site, crystal = self._run(batch)
        return Level(site, site), Level(crystal, crystal)

    def encode_sites(self, batch: SiteBatch) -> Level:
        """The local level: hidden (N, D) and site vector (N, D)."""
        return self.encode_levels(batch)[0]

    def encode(self, batch: SiteBatch) -> Encoding:
        """One vector per site and one per crystal."""
        site, crystal = self._run(batch)
        return Encoding(site=site, crystal=crystal)

    def _run(self, batch: SiteBatch) -> tuple[Tensor, Tensor]:
        """Site vectors (N, D) and crystal vectors (B, C), read while MatGL's network runs."""
        shown = with_company(batch, self._some_element) if self._needs_company(batch) else batch
        if self._mixes_triples:
            shown = short_first(shown, self.network.threebody_cutoff)
        graph = host.batch_to_graph(shown, self.element_types)
        state = state_of(self.network, shown.n_crystals, shown.distance)
        site_tap, crystal_tap = tap_of_sites(self.name, self.network), self._crystal_tap
        read: dict[str, Tensor] = {}

        def listen(key: str, tap: Tap) -> Any:
            def hook(module: nn.Module, given: tuple[Any, ...], returned: Any) -> None:
                read[key] = tap.read(given, returned)

            return tap.on(self.network).register_forward_hook(hook)

        handles = [listen("site", site_tap)] + ([listen("crystal", crystal_tap)] if crystal_tap else [])
        handles += [self._hide(shown.hidden)] if shown.hidden is not None else []
        try:
            with host.precision(shown.distance.dtype):
                self.network(graph, **({} if self.name == "so3net" else {"state_attr": state}))
        finally:
            for handle in handles:
                handle.remove()
            # MatGL 4 keeps the tensors of the last pass, and a network that holds them cannot be copied.
            self.network.feature_dict = {}
        site = read["site"]
        if crystal_tap is None:
            crystal = segment_mean(site, shown.owner, shown.size)
        else:
            crystal = read["crystal"].reshape(shown.n_crystals, -1)  # one crystal comes without its axis
        return site[: batch.n_sites], crystal[: batch.n_crystals]

    def _hide(self, hidden: Tensor) -> Any:
        """Until the handle is removed, hidden sites (N,) have the mean vector of all elements instead of their own."""

        def hook(module: nn.Module, given: tuple[Any, ...], returned: Tensor) -> Tensor:
            mean = cast(nn.Embedding, module).weight.mean(0)  # (D,) no new weight: MatGL opens the same file
            return torch.where(hidden.unsqueeze(1), mean, returned)  # (N, D)

        return element_vectors(self.name, self.network).register_forward_hook(hook)

    @property
    def _some_element(self) -> int:
        """Atomic number of an element that the network knows."""
        return int(self.numbers_of_type[0])

    @property
    def _crystal_tap(self) -> Tap | None:
        """Where the crystal vector is; nowhere in networks that add up predictions of sites."""
        return KNOWN[self.name].crystal if has_crystal_vector(self.network) else None

    @property
    def _mixes_triples(self) -> bool:
        """Whether MatGL up to 4.0.3 gives the triples of one bond to another: it numbers the short bonds by themselves.

        A network from elsewhere may have a shorter cut-off for triples; its short bonds come first, so that both
        numbers of a bond are the same.
        """
        return self.name == "m3gnet" and bool(self.network.threebody_cutoff < self.network.cutoff)

    def _needs_company(self, batch: SiteBatch) -> bool:
        """Whether MatGL would fail, or give NaN, on a batch without a single bond, or without a short one."""
        reach = getattr(self.network, "threebody_cutoff", getattr(self.network, "three_body_cutoff", None))
        return batch.n_pairs == 0 or (reach is not None and not bool((batch.distance <= reach).any()))

    def converter(self) -> host.RadiusConverter:
        """The radius graphs that it reads; MatGL's ``Structure2Graph`` makes the same."""
        return host.RadiusConverter(self.element_types, self.edges.cutoff_angstrom)

    def layer_groups(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by depth, from the input to the head: what can be frozen or given its own learning rate.

        MatGL's own head is in "head", where pretraining leaves it alone.
        """
        modules = groups_of(self.name, self.network)
        modules["head"].append(self.head)
        groups = {name: [p for module in group for p in module.parameters()] for name, group in modules.items()}
        return {name: parameters for name, parameters in groups.items() if parameters}


# What has to be known of each of MatGL's property networks: where its vectors are, what comes before what.


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


def build_network(name: str, element_types: Sequence[str], arguments: Mapping[str, Any]) -> Any:
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


def tap_of_sites(name: str, network: nn.Module) -> Tap:
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
