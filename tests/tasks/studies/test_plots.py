"""Maps repeat, and what colours the points is right."""

from __future__ import annotations

import builtins

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.read import read_crystals
from matgl_infomax.errors import InputError
from matgl_infomax.tasks.studies import plots as module
from matgl_infomax.tasks.studies.plots import (
    check_method,
    crystal_facts,
    most_electronegative,
    plot_map,
    project,
    system_of_crystal,
)


def two_clouds(n: int = 30) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(size=(n, 6)), rng.normal(size=(n, 6)) + 8])


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_clouds_stay_apart_and_maps_repeat(method):
    points = project(two_clouds(), method, seed=1)
    assert points.shape == (60, 2)
    np.testing.assert_array_equal(points, project(two_clouds(), method, seed=1))
    one, other = points[:30], points[30:]
    gap = np.linalg.norm(one.mean(0) - other.mean(0))
    assert gap > 2 * max(one.std(), other.std())


def test_principal_components_are_those_of_scaled_vectors():
    values = two_clouds() * [1, 1000, 1, 1, 1, 1]
    scaled = (values - values.mean(0)) / values.std(0)
    singular = np.linalg.svd(scaled, compute_uv=False)
    points = project(values, "pca", seed=0)
    np.testing.assert_allclose(np.linalg.norm(points, axis=0), singular[:2])
    np.testing.assert_allclose(points[:, 0] @ points[:, 1], 0, atol=1e-8)


def test_few_crystals(crystals):
    assert project(two_clouds(2), "tsne", seed=0).shape == (4, 2)
    with pytest.raises(InputError, match=r"at least 3 crystals. Received: 2"):
        project(np.ones((2, 4)), "pca", seed=0)


def test_umap_is_asked_for_before_anything_is_computed(monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **more):
        if name == "umap":
            raise ModuleNotFoundError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"pip install 'matgl-infomax\[umap\]'. Or take --map tsne"):
        check_method("umap")
    check_method("tsne")


def test_umap_gets_a_seed(monkeypatch):
    given = {}

    class Pretended:
        def __init__(self, **options):
            given.update(options)

        def fit_transform(self, values):
            return values[:, :2]

    monkeypatch.setattr(module, "_umap", lambda: type("umap", (), {"UMAP": Pretended}))
    assert project(two_clouds(5), "umap", seed=4).shape == (10, 2)
    assert given == {"n_neighbors": 9, "random_state": 4, "n_jobs": 1}


def test_systems_and_elements(crystals):
    facts = crystal_facts(crystals)
    found = dict(zip(facts["id"], zip(facts["crystal_system"], facts["element"], strict=True), strict=True))
    assert found["NaCl"] == ("cubic", "Cl")
    assert found["GaN"] == ("hexagonal", "N")
    assert found["KXeO"] == ("triclinic", "O")  # xenon has no electronegativity in Magpie's table, or a lower one
    assert found["GaAs"][1] == "As"
    assert set(facts["crystal_system"]) <= set(module.SYSTEMS)


def test_noble_gases_come_last():
    def of(*numbers: int) -> Crystal:
        n = len(numbers)
        return Crystal("x", np.array(numbers), 4 * np.eye(3), np.arange(3 * n).reshape(n, 3) / (3 * n))

    assert most_electronegative(of(2, 11)) == "Na"
    assert most_electronegative(of(2)) == "He"


def test_a_cell_without_symmetry_to_be_found_is_unknown(crystals, monkeypatch):
    import pymatgen.symmetry.analyzer as analyzer

    def fails(*_, **__):
        raise analyzer.SymmetryUndeterminedError("none")

    monkeypatch.setattr(analyzer, "SpacegroupAnalyzer", fails)
    assert system_of_crystal(crystals[0]) == "unknown"


def test_crystal_systems_are_those_of_matbench(shared):
    folder = shared / "data" / "matbench"
    table = pd.read_parquet(folder / "matbench_jdft2d.parquet").iloc[::16]
    official = pd.read_json(folder / "targets" / "matbench_jdft2d.json.bz2")
    if "crys_sys" not in official:
        official = pd.DataFrame(official["data"].tolist(), columns=official["columns"])
    wanted = official.set_index("mbid")["crys_sys"]
    crystals = read_crystals(table)
    same = [system_of_crystal(crystal) == wanted[crystal.id] for crystal in crystals]
    assert np.mean(same) > 0.9  # their tolerance is another one


def test_picture(tmp_path, crystals):
    rng = np.random.default_rng(0)
    facts = crystal_facts(crystals)
    facts["target"] = rng.normal(size=len(facts))
    facts[["pca_1", "pca_2"]] = rng.normal(size=(len(facts), 2))
    facts.loc[0, "crystal_system"] = "unknown"
    facts["arm"] = "pretrained"
    for name in ("one", "two"):
        plot_map(facts, "pca", tmp_path / f"{name}.png", target="y", unit="eV", title="maps")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    image = imread(tmp_path / "one.png")
    assert image.shape[1] > 1000 and image[..., :3].std() > 0.05
