"""The preset "published" against the published Deep InfoMax on dense padded tensors: negatives, losses, gradients.

Crystals have unequal supercells, so that padding and masks matter, and an odd number of sites, so that the direction
of the half roll does. Everything is in double precision and agrees to 1e-12.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.elements import INFOMAX_SCALE, elemental_properties
from matgl_infomax.nn.sitenet import SiteNet
from matgl_infomax.objectives import perturb
from matgl_infomax.objectives.infomax import InfoMax
from tests.helpers import infomax_published as formula
from tests.helpers.build import generator, store_of
from tests.helpers.infomax_published import GLOBAL_NEGATIVES, LOCAL_NEGATIVES, PaddedBatch
from tests.helpers.sitenet_reference import DenseCrystal, Weights
from tests.nn.test_sitenet import dense, formula_name, random_model

DIGITS = 1e-12
SEED = 13
CASES = {  # crystals of the batch, and its sites and columns
    "odd": (range(12), 31, (12, 20)),
    "even": (range(1, 12), 30, (12, 20)),
    "small and large": ([0, 11, 8], 9, (12, 20)),
    "meets itself": ([8, 0, 1], 7, (18, 20)),
}

CRITICS = {
    "site_level.log_variance": "local_variance",
    "crystal_level.log_variance": "global_variance",
    "local_whole.hidden.0": "phi_d.0",
    "local_whole.out": "phi_d.1",
    "local_part_in": "phi_q.0",
    "local_part_out": "phi_q.1",
    "global_part.hidden.0": "psi_l.0",
    "global_part.out": "psi_l.1",
    "global_whole.hidden.0": "psi_g.0",
    "global_whole.out": "psi_g.1",
}


def critic_name(parameter: str) -> str:
    """Where the formula keeps a parameter of the objective."""
    module, kind = parameter.rsplit(".", 1)
    return f"{CRITICS[module]}.{kind}"


def flat(crystals: list[DenseCrystal]) -> SiteBatch:
    """What the reference reads, as the package's flat tensors."""
    sizes = torch.tensor([len(c.number) for c in crystals])
    first = sizes.cumsum(0) - sizes
    src = [torch.arange(len(c.number)).repeat_interleave(len(c.unique)) for c in crystals]
    return SiteBatch(
        number=torch.cat([c.number for c in crystals]),
        owner=torch.arange(len(crystals)).repeat_interleave(sizes),
        src=torch.cat([s + f for s, f in zip(src, first, strict=True)]),
        dst=torch.cat([c.unique.repeat(len(c.number)) + f for c, f in zip(crystals, first, strict=True)]),
        distance=torch.cat([c.distance.flatten() for c in crystals]),
        n_crystals=len(crystals),
    )


def element_features() -> Tensor:
    """Scaled properties and the oxidation state, which is zero, (119, 9); kept in single precision by the network."""
    scaled = torch.from_numpy(elemental_properties().values * INFOMAX_SCALE)
    return torch.cat([scaled, torch.zeros(len(scaled), 1)], dim=1).float().double()


class Both:
    """The package and the formula on the same crystals with the same weights."""

    def __init__(self, crystals: list[Crystal], rows: list[int], **options: object) -> None:
        chosen = dense([crystals[row] for row in rows])
        self.batch: SiteBatch = flat(chosen)
        self.padded: PaddedBatch = formula.padded_batch(chosen, element_features())
        self.encoder: SiteNet = random_model("compact")
        torch.manual_seed(3)
        self.objective = InfoMax.for_encoder(self.encoder, "published", options).double()
        with torch.no_grad():  # keeps scores below 20, beyond which PyTorch's softplus(x) is x, up to 2e-9 off
            for parameter in self.objective.local_whole.out.parameters():
                parameter.mul_(0.3)
        self.weights: Weights = {
            name: parameter.detach().clone().requires_grad_() for name, parameter in self.parameters().items()
        }

    def parameters(self) -> dict[str, Tensor]:
        """The package's parameters under the formula's names."""
        named = {formula_name(name, "compact"): p for name, p in self.encoder.named_parameters()}
        return named | {critic_name(name): p for name, p in self.objective.named_parameters()}

    def drawn(self) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Noise of sites and crystals and the order of the columns, as the package draws them."""
        rng = generator(SEED)
        site = torch.randn(self.batch.n_sites, 32, generator=rng, dtype=torch.float64)
        crystal = torch.randn(self.batch.n_crystals, 64, generator=rng, dtype=torch.float64)
        return (site, crystal), torch.randperm(self.padded.mask.shape[1], generator=rng)

    def seen_by_the_global_level(self) -> dict[str, Tensor]:
        """The site vectors that its loss is given: the true ones, and those of each engineered negative."""
        objective, seen = self.objective, {}
        inner = objective.global_loss

        def spy(crystal: Tensor, site: Tensor, wrong: dict[str, Tensor], *rest: object) -> Tensor:
            seen.update({"truth": site, **wrong})
            return inner(crystal, site, wrong, *rest)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(objective, "global_loss", spy)
            objective.loss(self.encoder, self.batch, generator(SEED))
        return seen


def assert_equal(ours: Tensor, theirs: Tensor) -> None:
    """Equal to twelve digits."""
    torch.testing.assert_close(ours, theirs, rtol=DIGITS, atol=DIGITS)


def assert_same_gradients(ours: Tensor, theirs: Tensor, both: Both) -> None:
    """The same gradient of every parameter, none left over on either side."""
    parameters = both.parameters()
    assert parameters.keys() == both.weights.keys()
    ours_by_name, theirs_by_name = (
        dict(zip(owner, torch.autograd.grad(value, list(owner.values()), allow_unused=True), strict=True))
        for value, owner in ((ours, parameters), (theirs, both.weights))
    )
    reached = 0
    for name, expected in theirs_by_name.items():
        found = ours_by_name[name]
        zero = torch.zeros_like(both.weights[name])
        assert_equal(zero if found is None else found, zero if expected is None else expected)
        reached += expected is not None and bool(expected.abs().max() > 1e-6)
    assert reached > 5


@pytest.fixture(params=CASES)
def both(request: pytest.FixtureRequest, crystals: list[Crystal]) -> Both:
    """Each batch; its sizes are what its name says."""
    rows, sites, columns = CASES[request.param]
    made = Both(crystals, list(rows))
    assert made.batch.n_sites == sites
    assert (int(made.batch.degree.min()), int(made.batch.degree.max())) == columns
    return made


def test_site_vectors_of_all_global_negatives(both: Both) -> None:
    """G1 sees the true sites, G2 to G4 the sites of crystals that never were."""
    expected = formula.wrong_sites(both.weights, both.padded, both.drawn()[1])
    expected["truth"] = formula.site_vectors(both.weights, both.padded).detach()
    seen = both.seen_by_the_global_level()
    assert seen.keys() == expected.keys() == {*GLOBAL_NEGATIVES} - {"foreign"} | {"truth"}
    for name, vector in expected.items():
        assert_equal(seen[name], vector)
        if name != "truth":
            changed = (vector - expected["truth"]).abs().amax(1) > 1e-3
            assert changed.double().mean() > 0.5, f"{name} changes nothing, so nothing is compared"


@pytest.mark.parametrize("name", GLOBAL_NEGATIVES)
def test_global_level_with_each_negative(name: str, both: Both) -> None:
    """Loss and gradients, among them those of site and crystal vectors."""
    rng = generator(5)
    width = both.encoder.crystal_vector_width
    crystal = torch.randn(both.batch.n_crystals, width, generator=rng, dtype=torch.float64).requires_grad_()
    site = torch.randn(both.batch.n_sites, 32, generator=rng, dtype=torch.float64).requires_grad_()
    wrong = {} if name == "foreign" else {name: formula.wrong_sites(both.weights, both.padded, both.drawn()[1])[name]}
    # The package always counts the foreign crystal too, so it is compared beside each of the others.
    kinds = ("foreign", *wrong)
    expected = formula.global_loss(both.weights, crystal, site, wrong, both.padded.owner, kinds)
    ours = both.objective.global_loss(crystal, site, wrong, both.batch, perturb.rolled_sites(both.batch))
    assert_equal(ours, expected)
    for a, b in zip(
        *(torch.autograd.grad(value, [crystal, site], retain_graph=True) for value in (ours, expected)), strict=True
    ):
        assert_equal(a, b)
    assert_same_gradients(ours, expected, both)


@pytest.mark.parametrize("name", LOCAL_NEGATIVES)
def test_local_level_with_each_negative(name: str, both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss and gradients, among them those of the site vectors."""
    objective, batch = both.objective, both.batch
    all_kinds = objective._false
    monkeypatch.setattr(objective, "_false", lambda *given: {name: all_kinds(*given)[name]})
    z = torch.randn(batch.n_sites, 32, generator=generator(5), dtype=torch.float64).requires_grad_()
    expected = formula.local_loss(both.weights, z, both.padded, (name,))
    ours = objective.local_loss(z, both.encoder.raw_sites(batch), batch, perturb.rolled_sites(batch))
    assert_equal(ours, expected)
    assert_equal(*(torch.autograd.grad(value, z, retain_graph=True)[0] for value in (ours, expected)))
    assert_same_gradients(ours, expected, both)


def test_losses_and_every_gradient(both: Both) -> None:
    """The whole of it: encoder, samples, seven negatives, KL terms, and no gradient from global to local."""
    loss, parts = both.objective.loss(both.encoder, both.batch, generator(SEED))
    expected, expected_parts = formula.loss(both.weights, both.padded, *both.drawn())
    assert parts.keys() == expected_parts.keys()
    for name, value in expected_parts.items():
        assert_equal(parts[name], value.detach())
    assert_equal(loss, expected)
    assert_same_gradients(loss, expected, both)


def test_merged_batches_give_the_same(crystals: list[Crystal], tmp_path: Path) -> None:
    """In training equal sites are merged; the published negatives are made from the whole batch beside them."""
    store = store_of(crystals, tmp_path)
    both = Both(crystals, list(range(12)))
    losses = []
    for view in ("full", "both"):
        batch = store.batch(range(12), view=view).to("cpu", torch.float64)
        assert (batch.merged is None) is (view == "full")
        losses.append(both.objective.loss(both.encoder, batch, generator(SEED))[0].detach())
    # Stored distances of equal pairs differ in the last digit of single precision.
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("option", "part"),
    [
        ({"partner": "derangement"}, "local"),
        ({"local_weights": "common"}, "local"),
        ({"composition": "rows"}, "global"),
        ({"padding": "none"}, "global"),
        ({"kl_form": "textbook"}, "local_kl"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
)
def test_any_other_form_is_told_from_the_published_one(
    option: dict[str, str], part: str, crystals: list[Crystal]
) -> None:
    """What is compared above can fail: with one option changed the numbers are others, far beyond rounding."""
    both = Both(crystals, list(range(12)), **option)
    _, parts = both.objective.loss(both.encoder, both.batch, generator(SEED))
    _, expected = formula.loss(both.weights, both.padded, *both.drawn())
    assert abs(float(parts[part]) - float(expected[part].detach())) > 1e-5


def test_half_roll_of_five_sites_by_hand(crystals: list[Crystal]) -> None:
    """Five rows turned by two: the first meets the fourth, as in [3, 4, 0, 1, 2]."""
    batch = flat(dense([crystals[2], crystals[11]]))
    assert perturb.rolled_sites(batch).tolist() == [3, 4, 0, 1, 2]


def two_atoms() -> SiteBatch:
    """Two crystals by hand: two sites that see three images, a, a, b; one site that sees five of itself."""
    distances = [[0.0, 1.0, 2.0], [2.0, 2.5, 0.0], [0.0, 3.0, 3.5, 4.0, 4.5]]
    return SiteBatch(
        number=torch.tensor([3, 9, 26]),
        owner=torch.tensor([0, 0, 1]),
        src=torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2]),
        dst=torch.tensor([0, 0, 1, 0, 0, 1, 2, 2, 2, 2, 2]),
        distance=torch.tensor([d for row in distances for d in row]),
        n_crystals=2,
    )


def test_padded_rows_start_again_by_hand() -> None:
    """Three sites turned by one: site 0 meets 2, 1 meets 0, 2 meets 1."""
    batch = two_atoms()
    partner = perturb.rolled_sites(batch)
    assert partner.tolist() == [2, 0, 1]
    view = perturb.restructured_padded(batch, partner)
    rows = [(view.dst[view.src == i].tolist(), view.distance[view.src == i].tolist()) for i in range(3)]
    assert rows == [
        ([0, 0, 1, 0, 0], [0.0, 3.0, 3.5, 4.0, 4.5]),  # five places for three neighbours: a, a, b, a, a
        ([0, 0, 1], [0.0, 1.0, 2.0]),
        ([2, 2, 2], [2.0, 2.5, 0.0]),
    ]
    assert view.number.tolist() == batch.number.tolist()


@pytest.mark.parametrize("seed", range(4))
def test_padded_order_is_one_for_all_by_hand(seed: int) -> None:
    """The row a, a, b becomes a, a, b, a, a; then its columns are exchanged, and the first three are seen."""
    batch = two_atoms()
    order = torch.randperm(5, generator=generator(seed)).tolist()
    view = perturb.permuted_padded(batch, generator(seed))
    expected = [[0, 0, 1, 0, 0][k] for k in order[:3]]
    assert view.dst.tolist() == [*expected, *expected, 2, 2, 2, 2, 2]
    assert torch.equal(view.distance, batch.distance) and torch.equal(view.number, batch.number)


def test_sites_without_neighbours_have_no_padded_rows() -> None:
    """They have nothing that could start again; nobody divides by zero."""
    lone = SiteBatch(
        number=torch.tensor([2, 3, 9]),
        owner=torch.tensor([0, 1, 1]),
        src=torch.tensor([1, 2]),
        dst=torch.tensor([2, 1]),
        distance=torch.tensor([1.0, 1.0]),
        n_crystals=2,
    )
    view = perturb.restructured_padded(lone, perturb.rolled_sites(lone))
    assert (view.src.tolist(), view.dst.tolist()) == ([2], [1])
    assert perturb.permuted_padded(lone, generator()).dst.tolist() == [2, 1]
    none = replace(lone, **{name: getattr(lone, name)[:0] for name in ("src", "dst", "distance")})
    assert perturb.permuted_padded(none, generator()).n_pairs == 0
