"""Deep InfoMax for crystals: a site should recognise its neighbourhood, a crystal its own sites.

Moran et al., Digital Discovery 2025, D4DD00202D. A Jensen-Shannon bound on mutual information at two levels:
atoms with their distances against the site's vector (local), site vectors against the crystal's vector (global).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import linear, softplus

from matgl_infomax.data.batch import SiteBatch, View
from matgl_infomax.data.share import Share, at_least_single
from matgl_infomax.errors import InputError
from matgl_infomax.nn.layers import Head
from matgl_infomax.objectives import negatives, perturb
from matgl_infomax.objectives.base import LevelLike, Objective, TwoLevelEncoder, levels
from matgl_infomax.objectives.infomax_critic import Critic, Shown, near_first
from matgl_infomax.objectives.negatives import encode_wrong, real_views, wrong_versions
from matgl_infomax.objectives.perturb import within
from matgl_infomax.settings.base import Settings, chosen


class InfoMax(Objective):
    """Deep InfoMax on a two-level encoder.

    Args:
        encoder: the network whose vectors are compared; only its widths and its kind are read here.
        settings: negatives, weights and critics.

    Raises:
        InputError: If this network cannot be trained with these settings.
    """

    learns: ClassVar[frozenset[str]] = frozenset({"its own sites"})

    def __init__(self, encoder: TwoLevelEncoder, settings: InfoMaxSettings) -> None:
        super().__init__()
        self.settings = settings = fitted_to(encoder, settings)
        self.real_crystals = encoder.reads == "geometry"
        self.form = PUBLISHED_FORM if settings.partner == "roll" or settings.padding == "published" else None
        self.geometry = settings.noise_angstrom > 0 or settings.strain > 0
        # Crystals as they are cost a third when equal sites are merged; wrong or damaged ones have no equal sites.
        damaged = self.geometry or settings.hidden_share > 0
        self.view: View = "full" if self.real_crystals or damaged else "both"
        hidden, width = settings.critic_hidden, settings.critic_width
        self.site_level = GaussianLevel(encoder.site_hidden_width, encoder.site_vector_width)
        self.crystal_level = GaussianLevel(encoder.crystal_hidden_width, encoder.crystal_vector_width)
        self.local_whole = Head(encoder.site_vector_width, [hidden], width, "relu")
        self.local_part_in = nn.Linear(encoder.site_features + 1, hidden)
        self.local_part_out = nn.Linear(hidden, width)
        self.global_part = Head(encoder.site_vector_width, [hidden], width, "mish")
        self.global_whole = Head(encoder.crystal_vector_width, [hidden], width, "mish")

    @classmethod
    def for_encoder(cls, encoder: TwoLevelEncoder, preset: str, options: Mapping[str, Any]) -> InfoMax:
        """Deep InfoMax with critics as wide as this encoder's vectors.

        Raises:
            InputError: For an unknown preset or option.
        """
        return cls(encoder, chosen("InfoMax", InfoMaxSettings, INFOMAX_PRESETS, preset, options))

    def loss(
        self, encoder: TwoLevelEncoder, batch: SiteBatch, generator: torch.Generator, share: Share | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Local and global loss with their KL terms; 4 log 2 when nothing has been learnt (without KL).

        Raises:
            InputError: If the batch holds one crystal.
        """
        s = self.settings
        share = share or Share.of(batch)
        partner = self._partner(batch, generator)  # (N,)
        seen = negatives.damaged(batch, s.noise_angstrom, s.strain, s.hidden_share, generator)
        harder = self._hard(batch, seen, generator)
        read = within(seen, encoder.reach_angstrom) if self.geometry else seen
        site, crystal, vector = levels(encoder, share.own if read is batch else share.cut(read), s.greedy)
        local_sample, local_kl = self._sampled(self.site_level, site, generator, share, share.sites)
        local = self.local_loss(local_sample, encoder.raw_sites(batch), batch, partner, share, harder)

        global_sample, global_kl = self._sampled(self.crystal_level, crystal, generator, share, share.crystals)
        wrong, weights = self._encode_views(encoder, share, read, partner, generator) if s.extra_negatives else ({}, {})
        global_ = self.global_loss(global_sample, vector, wrong, batch, partner, share, weights)

        kl = s.local_weight * local_kl + s.global_weight * global_kl
        loss = s.local_weight * local + s.global_weight * global_ + s.kl_weight * kl
        parts = {"local": local, "global": global_, "local_kl": local_kl, "global_kl": global_kl}
        return loss, {name: value.detach() for name, value in parts.items()}

    def _sampled(
        self, gaussian: GaussianLevel, level: LevelLike, generator: torch.Generator, share: Share, rows: slice
    ) -> tuple[Tensor, Tensor]:
        """Noisy vectors and the KL term; the vectors themselves and zero without sampling."""
        if self.settings.kl_weight:
            return gaussian(level, self.settings.kl_form, generator, share, rows)
        vector = at_least_single(level.vector)
        return vector, vector.new_zeros(())

    @torch.no_grad()
    def _encode_views(
        self, encoder: TwoLevelEncoder, share: Share, read: SiteBatch, partner: Tensor, generator: torch.Generator
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Vectors of the own sites in wrong versions of what was read, (n, D) each, and weights, (n,), if any."""
        if self.real_crystals:
            amount = self.settings.wrong_share or WRONG_SHARE
            wrong = wrong_versions(read, partner, amount, generator)
            owner = share.whole.owner[share.sites]
            weights = {name: value[owner] for name, value in wrong.weight.items()}
            return {"wrong": encode_wrong(encoder, wrong, share)}, weights
        vectors = {}
        for name, view in self._views(read, partner, generator).items():
            if name == "composition" and self.settings.composition == "rows" and share.ranks > 1:
                # Its neighbours are rows of other crystals: it cannot be cut between processes.
                vectors[name] = encoder.encode_sites(view).vector[share.sites]
            else:
                vectors[name] = encoder.encode_sites(share.cut(view)).vector
        return vectors, {}

    def local_loss(
        self,
        site: Tensor,
        raw: Tensor,
        batch: SiteBatch,
        partner: Tensor,
        share: Share | None = None,
        harder: Mapping[str, Shown] | None = None,
    ) -> Tensor:
        """Does a site recognise the atoms around it? Mean over a crystal's sites, then over crystals.

        Args:
            site: vectors of the own sites, possibly sampled, (n, D).
            raw: fixed features of all sites, (N, F).
            batch: all crystals.
            partner: foreign site of each site, (N,).
            share: which crystals are this process's own; all without it.
            harder: more negatives by name.
        """
        share = share or Share.of(batch)
        # T = phi(site) . (W h + b) = (W^T phi) . h + phi . b: the last layer once per site instead of once per pair.
        whole = self.local_whole(site)  # (n, K)
        query = whole @ self.local_part_out.weight  # (n, H)
        bias = whole @ self.local_part_out.bias  # (n,)
        by_element, by_distance = self.local_part_in.weight.split([raw.shape[1], 1], dim=1)
        element = linear(raw.to(by_element.dtype), by_element, self.local_part_in.bias)  # (N, H)
        query, bias, element = map(at_least_single, (query, bias, element))

        critic = Critic(query, bias, element, by_distance.squeeze(1))

        def per_site(shown: Shown, sign: float) -> Tensor:
            return critic.loss(shown if share.ranks == 1 else shown.to(share.sites), sign)  # (n,)

        positive = per_site(self._true(batch), -1.0)
        false = {**self._false(batch, partner), **(harder or {})}
        negatives = [per_site(shown, 1.0) for shown in false.values()]
        return share.mean_of_sites(positive + torch.stack(negatives).mean(0))

    def global_loss(
        self,
        crystal: Tensor,
        site: Tensor,
        wrong: dict[str, Tensor],
        batch: SiteBatch,
        partner: Tensor,
        share: Share | None = None,
        weights: dict[str, Tensor] | None = None,
    ) -> Tensor:
        """Does a crystal recognise its own sites? Mean over a crystal's sites, then over crystals.

        Args:
            crystal: vectors of the own crystals, possibly sampled, (b, C).
            site: vectors of the own sites, (n, D).
            wrong: vectors of the own sites in each corrupted view, (n, D) each.
            batch: all crystals.
            partner: foreign site of each site, (N,).
            share: which crystals are this process's own; all without it.
            weights: weight of each kind of negative, "foreign" among them, (n,) each; all the same without them.
        """
        share = share or Share.of(batch)

        def part_of(vector: Tensor) -> Tensor:
            return at_least_single(self.global_part(vector))  # (n, K)

        # A foreign crystal may be another process's: its vector, and the gradient of that, travel.
        whole = share.gather(at_least_single(self.global_whole(crystal)))  # (B, K)
        own = whole.index_select(0, batch.owner[share.sites])  # (n, K)
        foreign = whole.index_select(0, batch.owner[partner[share.sites]])  # (n, K)
        part = part_of(site)  # (n, K)
        negatives = {"foreign": softplus((part * foreign).sum(1))}
        negatives |= {name: softplus((part_of(vector) * own).sum(1)) for name, vector in wrong.items()}
        return share.mean_of_sites(softplus(-(part * own).sum(1)) + _mean_of(negatives, weights or {}))

    def diagnose(self, batch: SiteBatch, generator: torch.Generator) -> dict[str, float]:
        """Share of true twins among each kind of negative: crystals that no encoder could tell from the original."""
        partner, s = self._partner(batch, generator), self.settings
        seen = negatives.damaged(batch, s.noise_angstrom, s.strain, s.hidden_share, generator)
        harder = self._hard(batch, seen, generator)
        true = negatives.batch_environment(batch)
        crystal = negatives.crystal_fingerprint(true, batch)
        share = {}
        for name, shown in {**self._false(batch, partner), **harder}.items():
            view = negatives.environment(batch.number, shown.receiver, batch.number[shown.neighbour], shown.distance)
            share[f"twins/local_{name}"] = negatives.twin_share(true, view)
        foreign = crystal[batch.owner[partner]]
        share["twins/global_foreign"] = negatives.twin_share(crystal[batch.owner], foreign)
        for name, other in self._views(batch, partner, generator).items() if self.settings.extra_negatives else ():
            view = negatives.crystal_fingerprint(negatives.batch_environment(other), other)
            # A view that changes nothing is left out of the loss where crystals are real.
            kept = perturb.recoloured_crystals(batch, other.number) if self.real_crystals else slice(None)
            share[f"twins/global_{name}"] = negatives.twin_share(crystal[kept], view[kept])
        return share

    def _partner(self, batch: SiteBatch, generator: torch.Generator) -> Tensor:
        """Foreign site of each site, (N,)."""
        if self.settings.partner == "roll":
            return perturb.rolled_sites(batch)
        return perturb.foreign_sites(batch, generator)

    def _true(self, batch: SiteBatch) -> Shown:
        """The pairs as they are."""
        return Shown(batch.src, batch.dst, batch.distance, near_first(batch.distance, batch.src, batch.n_sites))

    def _false(self, batch: SiteBatch, partner: Tensor) -> dict[str, Shown]:
        """Local negatives by name."""
        receiver, pair = perturb.partner_pairs(batch, partner)
        distance = batch.distance[pair]
        foreign_weight = near_first(distance, receiver, batch.n_sites)
        shown = {"foreign": Shown(receiver, batch.dst[pair], distance, foreign_weight)}
        if not self.settings.extra_negatives:
            return shown
        own, other = perturb.common_pairs(batch, partner)
        receiver = batch.src[own]
        for name, species, distances in (("structure", own, other), ("composition", other, own)):
            distance = batch.distance[distances]
            weight = near_first(distance, receiver, batch.n_sites)
            shown[name] = Shown(receiver, batch.dst[species], distance, weight)
        if self.settings.local_weights == "published":
            shown |= _with_mask_leak(batch, partner)
        return shown

    def _hard(self, batch: SiteBatch, seen: SiteBatch, generator: torch.Generator) -> dict[str, Shown]:
        """Local negatives close to the truth, by name: the distances shown, and chemically close elements."""
        found = {"stale": negatives.stale(batch, seen)} if self.geometry else {}
        if self.settings.akin:
            found["akin"] = negatives.recast(self._true(batch), negatives.akin_sites(batch.number, generator))
        return found

    def _views(self, batch: SiteBatch, partner: Tensor, generator: torch.Generator) -> dict[str, SiteBatch]:
        """Global negatives by name: whole crystals that never were."""
        s = self.settings
        if self.real_crystals:
            return real_views(batch, partner, generator)
        recolour = perturb.recoloured if s.composition == "sites" else perturb.recoloured_rows
        composition = recolour(batch, partner)
        if s.padding == "published":
            structure = perturb.restructured_padded(batch, partner)
            shuffled = perturb.permuted_padded(batch, generator)
        else:
            structure = perturb.restructured(batch, partner)
            shuffled = perturb.permuted(batch, generator, whole_batch=s.permutation == "batch")
        return {"composition": composition, "structure": structure, "permuted": shuffled}


def _mean_of(negatives: dict[str, Tensor], weights: dict[str, Tensor]) -> Tensor:
    """Mean over the kinds of negatives, (n,).

    Args:
        negatives: loss of each site by kind, (n,) each.
        weights: weight of each kind, (n,) each; none for equal ones.
    """
    if not weights:
        return torch.stack(list(negatives.values())).mean(0)
    return torch.stack([value * weights[name].to(value.dtype) for name, value in negatives.items()]).sum(0)


def _with_mask_leak(batch: SiteBatch, partner: Tensor) -> dict[str, Shown]:
    """The mixed negatives with their published weights, which do not sum to one for crystals of unequal size.

    Weights are normalised over the pairs that the distances come from, but counted over those of the other crystal;
    where the other crystal has more pairs, the padding shows distance 0 with the largest weight.
    """
    place = perturb.position(batch)  # (E,)
    total = batch.distance.new_zeros(batch.n_sites).index_add(0, batch.src, (batch.distance + 1.0) ** -2)  # (N,)

    def shown(receiver: Tensor, place: Tensor, neighbour: Tensor, source: Tensor) -> Shown:
        pair = (batch.first_pair[source] + place).clamp(max=batch.n_pairs - 1)
        distance = batch.distance[pair].masked_fill(place >= batch.degree[source], 0.0)
        return Shown(receiver, neighbour, distance, (distance + 1.0) ** -2 / total[source])

    receiver, other = perturb.partner_pairs(batch, partner)
    return {
        "structure": shown(batch.src, place, batch.dst, partner[batch.src]),
        "composition": shown(receiver, place[other], batch.dst[other], receiver),
    }


# Options of Deep InfoMax: what counts as a negative, and how the two levels are trained.


class InfoMaxSettings(Settings):
    """What counts as a negative, and how the two levels are trained."""

    extra_negatives: bool = Field(
        default=True,
        description="Also wrong structures, wrong compositions and permuted neighbours, not foreign ones alone.",
    )
    partner: Literal["derangement", "roll"] = Field(
        default="derangement",
        description="Foreign sites: from a random other crystal, or half a batch before (published; may meet the same crystal).",
    )
    local_weights: Literal["common", "published"] = Field(
        default="common",
        description="Weights of mixed local negatives: over the pairs shown, summing to one, or with the published mask leak.",
    )
    composition: Literal["sites", "rows"] = Field(
        default="sites",
        description="Wrong composition at the global level: another element per site, seen at all its images (published too), or whole rows of neighbours of other sites, which no paper has.",
    )
    permutation: Literal["crystal", "batch"] = Field(
        default="crystal", description="Neighbour order drawn per crystal, or once for the whole batch as published."
    )
    padding: Literal["none", "published"] = Field(
        default="none",
        description="Wrong structure and neighbour order at the global level: among neighbours that are there, or in the published table, where a row that is too short starts again from its first neighbour; needs permutation='batch'.",
    )
    kl_weight: float = Field(
        default=0.1,
        ge=0,
        description="Weight of the KL term that keeps the vectors near a unit Gaussian; 0 also switches sampling off.",
    )
    kl_form: Literal["textbook", "published"] = Field(
        default="textbook",
        description="KL term: 0.5(mu^2 + e^lv - lv - 1), or the published one with twice the weight on the variance.",
    )
    greedy: bool = Field(default=True, description="Keep the gradient of the global level out of the local encoder.")
    local_weight: float = Field(default=1.0, ge=0, description="Weight of the local loss.")
    global_weight: float = Field(default=1.0, ge=0, description="Weight of the global loss.")
    wrong_share: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="MatGL's networks: share of a batch's crystals of which one wrong version is encoded too, weighted so that the mean loss stays the same; 0.33 when left out. Site-Net encodes all of them.",
    )
    noise_angstrom: float = Field(
        default=0.0,
        ge=0,
        description="Strongest noise on the positions that the network reads, while it must recognise the sound neighbourhood; the distances it was shown are then a negative too. 0 shows crystals as they are.",
    )
    strain: float = Field(
        default=0.0,
        ge=0,
        description="Standard deviation of the strain of the cells that the network reads, in the same way.",
    )
    hidden_share: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of each crystal's sites whose element the network does not read, while it must recognise it; 0 hides none.",
    )
    akin: bool = Field(
        default=False,
        description="Also neighbours whose elements are exchanged for chemically close ones as a local negative.",
    )
    critic_hidden: int = Field(default=64, ge=1, description="Hidden width of the critics.")
    critic_width: int = Field(default=128, ge=1, description="Width in which critics compare.")


INFOMAX_PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "published": {
        "partner": "roll",
        "local_weights": "published",
        "permutation": "batch",
        "padding": "published",
        "kl_form": "published",
    },
    "hard": {
        "extra_negatives": False,
        "noise_angstrom": 0.3,
        "strain": 0.02,
        "hidden_share": 0.15,
        "akin": True,
    },
}

PUBLISHED_FORM = "site features rolled by N // 2, padded columns start again"
"""The published preset once met site r + N // 2 and exchanged rows of neighbours under the same settings."""

WRONG_SHARE = 0.33
"""With it InfoMax adds less than 40 % to the time of a supervised step of MEGNet or M3GNet."""

_DISTANCES_ONLY = ("local_weights", "composition", "permutation", "padding")
"""Options whose other form shows a network distances that no crystal has."""


def fitted_to(encoder: TwoLevelEncoder, settings: InfoMaxSettings) -> InfoMaxSettings:
    """The settings as this network can be trained with them.

    A gradient can be kept out of the local level only where the crystal vector is made from finished site vectors;
    elsewhere ``greedy`` is off. A network that reads positions must be shown crystals that could exist.

    Args:
        encoder: the network to be trained.
        settings: what the user asked for.

    Raises:
        InputError: If the user asked for something that this network cannot do.
    """
    if settings.composition == "rows" and settings.partner != "roll":
        raise InputError("composition='rows' needs partner='roll': rows can only be exchanged by a permutation.")
    if settings.padding == "published" and settings.permutation != "batch":
        raise InputError(
            f"padding='published' needs permutation='batch': the padded table has one order of columns for all crystals. "
            f"Received: permutation={settings.permutation!r}."
        )
    defaults = InfoMaxSettings()
    wrong = [name for name in _DISTANCES_ONLY if getattr(settings, name) != getattr(defaults, name)]
    if encoder.reads == "geometry" and wrong:
        raise InputError(
            f"InfoMax cannot show a {type(encoder).__name__} what {', '.join(wrong)} in this form would make: "
            "distances without positions. Use the preset 'default', or Site-Net."
        )
    if encoder.reads != "geometry" and settings.wrong_share is not None:
        raise InputError(f"wrong_share is for MatGL's networks, not for a {type(encoder).__name__}. Leave it out.")
    if encoder.separable:
        return settings
    if settings.greedy and "greedy" in settings.model_fields_set:
        raise InputError(
            f"greedy=True needs a crystal vector made from finished site vectors, as in Site-Net; a "
            f"{type(encoder).__name__} makes both together. Leave greedy out, or set greedy=False."
        )
    return settings.model_copy(update={"greedy": False})


# A vector as the mean of a Gaussian: noise for the critic, and a KL term that keeps it near the unit Gaussian.

LOG_VARIANCE_LIMIT = 10.0


class GaussianLevel(nn.Module):
    """Sample around a level's vectors during pretraining; the encoder itself stays deterministic.

    Shapes:
        hidden (N, H), vector (N, D) -> sample (N, D), KL term ().
    """

    def __init__(self, hidden_width: int, width: int) -> None:
        super().__init__()
        self.log_variance = nn.Linear(hidden_width, width)

    def forward(
        self, level: LevelLike, kl_form: str, generator: torch.Generator, share: Share, rows: slice
    ) -> tuple[Tensor, Tensor]:
        """Noisy vectors of the own rows, (n, D), and their share of the KL term.

        The noise is drawn for all rows, so that it does not depend on which process holds which.

        Args:
            level: hidden vectors and means of the own rows, (n, H) and (n, D).
            kl_form: "textbook", or "published" with twice the weight on the variance.
            generator: source of the noise, in the same state on every process.
            share: which crystals are this process's own.
            rows: its sites or its crystals in the whole batch, whichever have these vectors.
        """
        total = share.whole.n_sites if rows is share.sites else share.whole.n_crystals
        mean = at_least_single(level.vector)  # (n, D)
        log_variance = at_least_single(self.log_variance(level.hidden))  # (n, D)
        log_variance = log_variance.clamp(-LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT)
        noise = torch.randn((total, mean.shape[1]), generator=generator, dtype=mean.dtype)[rows].to(mean.device)
        sample = mean + (0.5 * log_variance).exp() * noise
        if not len(mean):  # of no rows the mean would be 0/0; their share of it is zero
            return sample, log_variance.sum()
        return sample, kl_term(mean, log_variance, kl_form) * (len(mean) * share.ranks / total)


def kl_term(mean: Tensor, log_variance: Tensor, form: str) -> Tensor:
    """Distance of a diagonal Gaussian from the unit Gaussian, averaged over all elements.

    Textbook: 0.5 (mu^2 + e^lv - lv - 1). Published: 0.5 mu^2 + e^lv - lv; same optimum, other slope.

    Args:
        mean: (N, D).
        log_variance: (N, D).
        form: "textbook" or "published".
    """
    spread = log_variance.exp() - log_variance
    if form == "published":
        return (0.5 * mean**2 + spread).mean()
    return 0.5 * (mean**2 + spread - 1.0).mean()
