"""MatGL's own property networks as encoders: site vectors, a crystal vector, and a head on top.

The network inside stays MatGL's: saved by itself, it opens with ``matgl.load_model`` where this package is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from matgl_infomax import host
from matgl_infomax.data.batch import SiteBatch, segment_mean
from matgl_infomax.data.radius import RadiusRule
from matgl_infomax.errors import InputError
from matgl_infomax.graphs import short_first, with_company
from matgl_infomax.nn import matgl_models
from matgl_infomax.nn.heads import OUTPUTS, Head
from matgl_infomax.nn.inputs import SiteInput
from matgl_infomax.nn.presets import ELEMENTS
from matgl_infomax.nn.property_model import Encoding, PropertyModel
from matgl_infomax.nn.sitenet import Level


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
        self.network: Any = matgl_models.build(name, self.element_types, arguments)
        site, crystal = matgl_models.widths(name, self.network)
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
        arguments = matgl_models.full_arguments(name, options or {})
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
        name = matgl_models.name_of(native)
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
        return matgl_models.wrong_forces(self.name)

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
        state = matgl_models.state_of(self.network, shown.n_crystals, shown.distance)
        site_tap, crystal_tap = matgl_models.site_tap(self.name, self.network), self._crystal_tap
        read: dict[str, Tensor] = {}

        def listen(key: str, tap: matgl_models.Tap) -> Any:
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

        return matgl_models.element_vectors(self.name, self.network).register_forward_hook(hook)

    @property
    def _some_element(self) -> int:
        """Atomic number of an element that the network knows."""
        return int(self.numbers_of_type[0])

    @property
    def _crystal_tap(self) -> matgl_models.Tap | None:
        """Where the crystal vector is; nowhere in networks that add up predictions of sites."""
        return matgl_models.KNOWN[self.name].crystal if matgl_models.has_crystal_vector(self.network) else None

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
        modules = matgl_models.groups_of(self.name, self.network)
        modules["head"].append(self.head)
        groups = {name: [p for module in group for p in module.parameters()] for name, group in modules.items()}
        return {name: parameters for name, parameters in groups.items() if parameters}
