"""A force study leaves a card per run, goes on where it was, and its table says what the predictions say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from matgl_infomax import cli
from matgl_infomax.api import pretrain
from matgl_infomax.data.forces import GPA_OF
from matgl_infomax.errors import InputError
from matgl_infomax.record import RunCard
from matgl_infomax.settings.commands import ForceStudyConfig
from matgl_infomax.settings.training import ForceFieldSettings, ModelSettings, PretrainSettings
from matgl_infomax.tasks.studies.force import (
    STRESS_ORDER,
    ForceStudy,
    force_study,
    force_table,
    load_frames,
    load_table,
    plan_force_study,
)
from tests.helpers.vouched import assert_vouched

MODEL = ModelSettings(name="tensornet", options={"units": 8, "nblocks": 1, "cutoff": 4.0})
BASE = 3.2
"""Lattice constant of the made-up frames, angstrom."""


def frame(element: str, split: str, k: int) -> dict[str, object]:
    """A strained cubic crystal with a moved atom in the columns of mlearn, the energy quadratic in both changes."""
    rng = np.random.default_rng([k, len(element + split)])
    strain = 0.05 * rng.normal(size=3)
    shift = 0.05 * rng.normal()
    lattice = BASE * np.diag(1.0 + strain)
    slope = 2.0 * strain * (1.0 + strain)  # dE/d(strain of the strained cell), eV
    stress = -10.0 * GPA_OF["eV/A3"] * slope / abs(np.linalg.det(lattice))  # kBar, positive under compression
    return {
        "id": f"{element}-{split}-{k}", "element": element, "split": split, "group": "Elastic",
        "lattice": lattice.ravel().tolist(), "atomic_numbers": 2 * [{"Cu": 29, "Si": 14}[element]],
        "frac_coords": [0.0, 0.0, 0.0, 0.5 + shift, 0.5, 0.5], "energy": float((strain**2).sum() + shift**2 - 8.0),
        "forces": [2 * shift / lattice[0, 0], 0.0, 0.0, -2 * shift / lattice[0, 0], 0.0, 0.0],
        "virial_stress": [*stress.tolist(), 0.0, 0.0, 0.0],
    }  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [frame(e, split, k) for e in ("Cu", "Si") for split, n in (("train", 10), ("test", 3)) for k in range(n)]
    pd.DataFrame(rows).to_parquet(tmp_path / "mlearn.parquet")
    return tmp_path / "mlearn.parquet"


def config(data: Path, **changes: object) -> ForceStudyConfig:
    training = ForceFieldSettings(steps=2, validate_every=2, batch_sites=4, validation_fraction=0.0)
    given = {"data": data, "elements": ["Cu", "Si"], "shares": [0.5, 1.0], "seeds": 2, "model": MODEL}
    given |= {"forcefield": training, "cache": data.parent / "cache", "out": data.parent / "out"}
    return ForceStudyConfig(**{**given, **changes})


@pytest.fixture
def encoder(crystals, tmp_path: Path) -> Path:
    settings = PretrainSettings(objective="masked", steps=2, validate_every=2, batch_sites=30, validation_fraction=0.2)
    out = tmp_path / "encoder"
    pretrain(crystals, out, model=MODEL, settings=settings, cache=tmp_path / "cache", progress=False)
    return out


def test_study_leaves_cards_and_goes_on(data, encoder, monkeypatch):
    asked = config(data, arms=["scratch", f"masked={encoder}"], seeds=1, shares=[0.5])
    done = force_study(asked, progress=False)
    assert len(done.cards) == 4
    card = next(c for c in done.cards if (c.arm, c.task, c.mask.asked) == ("masked", "mlearn_Cu", 5))
    assert (card.mask.used, card.n_test, card.initial.name) == (5, 3, "masked")
    table = pd.read_parquet(data.parent / "out" / "runs" / "Cu-masked-n5-s0.parquet")
    assert card.metrics.energy.mae == pytest.approx((table["prediction"] - table["target"]).abs().mean())
    assert card.metrics.stress.mae == pytest.approx(table["stress_error"].mean(), rel=1e-6)
    text = done.to_text()
    assert "| Cu | 50% | masked |" in text and "| all | 50% | masked |" in text
    monkeypatch.setattr(ForceStudy, "carry_out", lambda *_: pytest.fail("a finished run was repeated"))
    assert force_study(asked, progress=False).table == done.table
    lines = json.loads((data.parent / "out" / "table.json").read_text())["lines"]
    assert len(lines) == len(done.table.lines)
    assert_vouched(data.parent / "out", {"cards.jsonl", "table.json", "summary.md"})
    kept = (data.parent / "out" / "cards.jsonl").read_text().splitlines()
    assert tuple(RunCard.model_validate_json(line) for line in kept) == done.cards
    with pytest.raises(InputError, match="holds another run"):
        force_study(config(data, forcefield=asked.forcefield.model_copy(update={"steps": 3})), progress=False)


def test_smaller_sets_lie_within_larger_ones_and_seeds_differ(data):
    study = plan_force_study(config(data))
    by_name = {run.name: run for run in study.runs}
    small, large = (set(study.mask(by_name[f"Si-scratch-n{n}-s1"])) for n in (5, 10))
    assert small < large
    assert set(study.mask(by_name["Si-scratch-n5-s0"])) != small
    assert len({study.run_hash(run) for run in study.runs}) == len(study.runs)


def test_other_networks_and_unknown_names_are_refused(data, encoder):
    other = ModelSettings(name="tensornet", options={**MODEL.options, "units": 4})
    for changes, words in {
        "units=8, scratch has 4": {"arms": ["scratch", f"masked={encoder}"], "model": other},
        "mlearn has no Xx": {"elements": ["Xx"]},
        "knows the arm scratch": {"arms": ["frozen"]},
        "Shares of the frames": {"shares": [1.5]},
        "Cannot read the mlearn table": {"data": data.parent / "nothing.parquet"},
    }.items():
        with pytest.raises(InputError, match=changes):
            plan_force_study(config(**{"data": data, **words}))
    pd.DataFrame({"id": [1]}).to_parquet(data)
    with pytest.raises(InputError, match="lacks the columns element"):
        plan_force_study(config(data))


def test_table_is_what_the_errors_say():
    rng = np.random.default_rng(0)
    lines = [
        {"element": e, "share": 1.0, "arm": arm, "seed": s, "id": f"{e}{k}", "n_sites": 1 + k, "target": 0.0,
         "prediction": size * (1 + 0.1 * rng.random()), "force_error": size * (1 + k)}
        for e, scale in (("Cu", 1.0), ("Si", 10.0)) for arm, size in (("scratch", scale), ("better", 0.5 * scale))
        for s in range(3) for k in range(4)
    ]  # fmt: skip
    table = force_table(pd.DataFrame(lines))
    found = {(x.element, x.arm, x.kind): x for x in table.lines}
    sites = np.arange(1, 5)
    assert found["Si", "scratch", "force"].mae == pytest.approx(10 * (sites**2).sum() / sites.sum())
    for element in ("Cu", "Si", "all"):
        line = found[element, "better", "force"]
        assert line.ratio == pytest.approx(0.5) and line.ratio_high < 0.6
        assert 0.4 < found[element, "better", "energy"].ratio < 0.6
    assert found["Cu", "scratch", "energy"].ratio is None
    assert "| Si | 100% | better | 5" in table.to_markdown()


def test_command(data, capsys):
    words = ["force-study", "--data", str(data), "--elements", "Cu", "--shares", "0.5", "--seeds", "1"]
    words += ["--model", "tensornet", "--model.options", "units=8", "nblocks=1", "--forcefield.steps", "1"]
    words += ["--forcefield.validate-every", "1", "--cache", str(data.parent / "c"), "--out", str(data.parent / "o")]
    assert cli.main(words) == 0
    assert "| Cu | 50% | scratch |" in capsys.readouterr().out


@pytest.mark.parametrize("element", ["Ni", "Cu", "Mo", "Si", "Ge"])
def test_order_of_stresses_is_what_sheared_cells_say(element, shared):
    """In a cubic crystal a shear answers to its own stress: positive under compression, so the slope is negative."""
    table = load_table(shared / "data" / "mlearn_ff" / "mlearn_ff.parquet")
    table = table[table["group"] == "Elastic"]
    splits = sorted(set(table[table["element"] == element]["split"]))
    frames = [load_frames(table, element, split) for split in splits]
    cells = np.stack([crystal.lattice for part in frames for crystal in part.crystals])
    cells /= np.cbrt(np.linalg.det(cells))[:, None, None]
    strain = np.einsum("nki,nkj->nij", cells, cells)  # (n, 3, 3), about 1 + 2 epsilon
    stress = np.concatenate([part.labels.stress for part in frames])
    for a, b in ((0, 1), (1, 2), (0, 2)):
        assert np.corrcoef(strain[:, a, b], stress[:, a, b])[0, 1] > 0.99
    volumes = [abs(np.linalg.det(c.lattice)) / c.n_sites for part in frames for c in part.crystals]
    assert np.corrcoef(np.trace(stress, axis1=1, axis2=2), volumes)[0, 1] > 0.9
    assert set(STRESS_ORDER) == {"Ni", "Cu", "Li", "Mo", "Si", "Ge"}
