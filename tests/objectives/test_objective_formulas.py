"""The losses of the other objectives against loops written from their formulas, in double precision."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from torch.nn.functional import layer_norm, mish

from matgl_infomax.contracts import example_crystals
from matgl_infomax.data.elements import element_stiffness, valence_class
from matgl_infomax.nn.sitenet import SiteNet
from matgl_infomax.objectives import OBJECTIVES, denoise, dual, fingerprint, masked, twins, two_views
from matgl_infomax.objectives.perturb import strengths
from tests.helpers.build import generator, store_of

CLOSE = {"rel": 1e-6, "abs": 1e-9}


@pytest.fixture(scope="module")
def encoder():
    return SiteNet.from_preset("compact", seed=0).double()


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    crystals = example_crystals()
    store = store_of(crystals, tmp_path_factory.mktemp("cache"), max_atoms=10)
    return store.batch(range(len(crystals)), geometry=True).to("cpu", torch.float64)


def made(name, encoder, preset="default", **options):
    torch.manual_seed(1)
    return OBJECTIVES[name].for_encoder(encoder, preset, options).double()


def recorded(monkeypatch, module, *names):
    """Everything these functions return from now on, by name."""
    kept = {name: [] for name in names}
    for name in names:
        real = getattr(module, name)

        def keep(*args, real=real, name=name, **options):
            kept[name].append(real(*args, **options))
            return kept[name][-1]

        monkeypatch.setattr(module, name, keep)
    return kept


def rows_of(batch, k):
    return [i for i in range(batch.n_sites) if int(batch.owner[i]) == k]


def mean_of_crystals(value, chosen, batch):
    """Mean over a crystal's chosen sites, then over crystals that have any; value is a function of the site."""
    means = []
    for k in range(batch.n_crystals):
        mine = [value(i) for i in rows_of(batch, k) if chosen[i]]
        means += [sum(mine) / len(mine)] if mine else []
    return sum(means) / len(means)


def cross_entropy(score, answer):
    score = score.detach().numpy()
    return math.log(np.exp(score - score.max()).sum()) + score.max() - score[answer]


def huber(x):
    return 0.5 * x * x if abs(x) < 1 else abs(x) - 0.5


def test_masked_elements(encoder, batch, monkeypatch):
    objective = made("masked", encoder, share=0.4)
    kept = recorded(monkeypatch, masked, "some_sites", "with_hidden")
    loss, parts = objective.loss(encoder, batch, generator())
    hidden, score = kept["some_sites"][0], objective.guess(encoder.encode_sites(kept["with_hidden"][0]).vector)
    expected = mean_of_crystals(lambda i: cross_entropy(score[i], int(batch.number[i])), hidden, batch)
    assert float(loss.detach()) == pytest.approx(expected, **CLOSE)
    right = mean_of_crystals(lambda i: float(int(score[i].argmax()) == int(batch.number[i])), hidden, batch)
    assert float(parts["right"]) == pytest.approx(right, **CLOSE)


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
def test_denoised_distances(strain_size, encoder, batch, monkeypatch):
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


def test_denoised_coordinates(encoder, batch, monkeypatch):
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


def test_fingerprint_loss(encoder, batch):
    objective = made("fingerprint", encoder, gaussians=3)
    loss, parts = objective.loss(encoder, batch, generator())
    raw = fingerprint.fingerprints(batch, fingerprint.element_weights(), 5.0, 3).numpy()
    log = np.log(1 + raw)
    wanted = (log - log.mean(0)) / np.maximum(log.std(0), 0.01)
    told = objective.tell(encoder.encode_sites(batch).vector).detach().numpy()
    everything = [True] * batch.n_sites
    for value, answer in ((loss.detach(), told), (parts["blind"], 0 * told)):
        expected = mean_of_crystals(
            lambda i, a=answer: float(np.mean([huber(x) for x in a[i] - wanted[i]])), everything, batch
        )
        assert float(value) == pytest.approx(expected, **CLOSE)


@pytest.fixture
def pair():
    drawn = torch.randn(2, 7, 5, generator=generator(), dtype=torch.float64)
    return drawn[0], drawn[0] + 0.5 * drawn[1]


def scaled(z):
    return (z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5)


def barlow(a, b, redundancy):
    a, b = scaled(a), scaled(b)
    total = 0.0
    for i, j in product(range(a.shape[1]), repeat=2):
        c = sum(a[k, i] * b[k, j] for k in range(len(a))) / len(a)
        total += (1 - c) ** 2 if i == j else redundancy * c * c
    return total / a.shape[1]


def cos(u, v):
    return float(u @ v / (np.linalg.norm(u) * np.linalg.norm(v)))


def contrast(a, b, t):
    both, n = np.concatenate([a, b]), len(a)
    total = 0.0
    for i in range(2 * n):
        others = sum(math.exp(cos(both[i], both[k]) / t) for k in range(2 * n) if k != i)
        total -= math.log(math.exp(cos(both[i], both[(i + n) % (2 * n)]) / t) / others)
    return total / (2 * n)


def test_losses_of_agreement(pair):
    a, b = (z.numpy() for z in pair)
    assert float(two_views.barlow_twins(*pair, 0.0051)) == pytest.approx(barlow(a, b, 0.0051), **CLOSE)
    assert float(two_views.nt_xent(*pair, 0.1)) == pytest.approx(contrast(a, b, 0.1), **CLOSE)
    mean = np.mean([1 - cos(u, v) for u, v in zip(a, b, strict=True)])
    assert float(two_views.cosine(*pair)) == pytest.approx(mean, **CLOSE)
    told = [2 * z + 0.3 for z in pair]
    expected = -0.5 * np.mean(
        [cos(p, z) + cos(q, y) for p, q, y, z in zip(told[0].numpy(), told[1].numpy(), a, b, strict=True)]
    )
    assert float(two_views.simsiam(*pair, *told)) == pytest.approx(expected, **CLOSE)


def test_simsiam_passes_no_gradient_to_what_is_to_be_told(pair):
    one, other = (z.clone().requires_grad_() for z in pair)
    two_views.simsiam(one, other, one.detach() * 2, other.detach() * 2).requires_grad_().backward()
    assert one.grad is None and other.grad is None


def test_known_values_of_agreement():
    """Equal views cost nothing by the cosine; one vector for all costs ln(2 B - 1), and 1 by Barlow Twins."""
    eye = torch.eye(6, dtype=torch.float64)
    assert float(two_views.cosine(eye, 3 * eye)) == pytest.approx(0.0, abs=1e-12)
    assert float(two_views.nt_xent(eye, eye, 1.0)) == pytest.approx(math.log(math.e + 10) - 1)
    same = torch.ones(6, 4, dtype=torch.float64)
    assert float(two_views.nt_xent(same, same, 0.1)) == pytest.approx(math.log(11))
    assert float(two_views.barlow_twins(same, same, 0.0051)) == pytest.approx(1.0), "one vector for all is no solution"


@pytest.mark.parametrize("preset", sorted(twins.TWINS_PRESETS))
def test_twins(preset, encoder, batch, monkeypatch):
    objective = made("twins", encoder, preset)
    kept = recorded(monkeypatch, twins, "within")["within"]
    loss, _ = objective.loss(encoder, batch, generator())
    views = [objective.project(encoder.encode(view).crystal) for view in kept]
    a, b = (z.detach().numpy() for z in views)
    if "simsiam" in preset:
        p, q = (objective.predict(z).detach().numpy() for z in views)
        expected = -0.5 * np.mean([cos(p[k], b[k]) + cos(q[k], a[k]) for k in range(len(a))])
    else:
        if preset == "published":
            a, b = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (a, b))
        expected = barlow(a, b, 0.0051)
    assert float(loss.detach()) == pytest.approx(expected, **CLOSE)


WEIGHTS = {  # mask, contrast, micro
    "default": (1.0, 1.0, 0.5),
    "published": (0.5, 0.5, 0.0),
    "published_valence": (0.1, 1.0, 0.1),
    "published_stiffness": (0.1, 1.0, 0.1),
}


@pytest.mark.parametrize("preset", sorted(dual.DUAL_PRESETS))
def test_dual(preset, encoder, batch, monkeypatch):
    options = {"micro": "stiffness"} if preset == "default" else {}
    objective = made("dual", encoder, preset, **options)
    kept = recorded(monkeypatch, dual, "some_sites", "with_hidden", "within")
    loss, parts = objective.loss(encoder, batch, generator())
    hidden, vectors = kept["some_sites"][0], encoder.encode_sites(kept["with_hidden"][0]).vector
    score = objective.guess(vectors)
    element = mean_of_crystals(lambda i: cross_entropy(score[i], int(batch.number[i])), hidden, batch)
    a, b = (objective.project(encoder.encode(view).crystal).detach().numpy() for view in kept["within"])
    agreement = contrast(a, b, 0.1) if preset == "default" else np.mean([1 - cos(*z) for z in zip(a, b, strict=True)])
    assert [float(parts["element"]), float(parts["contrast"])] == pytest.approx([element, agreement], **CLOSE)
    mask_weight, contrast_weight, micro_weight = WEIGHTS[preset]
    micro = micro_of(objective, vectors, hidden, batch, preset) if micro_weight else 0.0
    expected = mask_weight * element + contrast_weight * agreement + micro_weight * micro
    assert float(loss.detach()) == pytest.approx(expected, **CLOSE)


def micro_of(objective, vectors, hidden, batch, preset):
    told = objective.micro.tell(vectors)
    if preset == "published_valence":
        classes = valence_class()
        return mean_of_crystals(lambda i: cross_entropy(told[i], int(classes[int(batch.number[i])])), hidden, batch)
    table = element_stiffness()
    log = np.log(1 + table[~np.isnan(table)])

    def error(i):
        wanted = float(np.float32(table[int(batch.number[i])]))
        if preset == "published_stiffness":
            return abs(float(told[i].detach()) - wanted)
        return huber(float(told[i].detach()) - (math.log(1 + wanted) - log.mean()) / log.std(ddof=1))

    known = [bool(h) and not np.isnan(table[int(z)]) for h, z in zip(hidden, batch.number, strict=True)]
    assert 0 < sum(known) < int(hidden.sum()), "some hidden sites have a stiffness and some have none"
    return mean_of_crystals(error, known, batch)
