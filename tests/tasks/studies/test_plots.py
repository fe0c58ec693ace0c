"""Maps repeat, and what colours the points is right."""

from __future__ import annotations

import builtins

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.read import read_crystals
from matgl_infomax.errors import InputError
from matgl_infomax.leaderboard.report import figures
from matgl_infomax.leaderboard.verdict import judge
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


LONG = "a property whose long name_nobody_should_have_given_to_a_column of measured values $x_{$ of the second batch"
UNIT = "kilojoule per mole of formula units"


def outside(figure: Figure) -> float:
    """Inches by which anything drawn lies beyond the paper, none for a picture that cuts nothing."""
    figure.draw_without_rendering()
    box = figure.get_tightbbox()
    return max(-box.x0, -box.y0, box.x1 - figure.get_figwidth(), box.y1 - figure.get_figheight(), 0.0)


def test_a_label_that_is_cut_is_noticed():
    figure = Figure(figsize=(2, 2), layout="constrained")
    figure.add_subplot().set_ylabel(LONG.replace("$", ""))
    assert outside(figure) > 1


def curve_of(*counts: int, arms: tuple[str, ...] = ("scratch", "finetuned", LONG), seeds: int = 3):
    """A study in which the arms make 1, 0.9, 0.8, ... of the error from scratch; its runs and its verdict."""
    rng = np.random.default_rng(0)
    base = {n: rng.gamma(2, 1, 80) for n in counts}
    errors = {
        (arm, n): base[n] * (1 - 0.1 * k) * (1 + 0.02 * rng.normal(size=(seeds, 1)))
        for n in counts for k, arm in enumerate(arms)
    }  # fmt: skip
    runs = [
        {"arm": arm, "labels_asked": n, "seed": seed, "mae": part[seed].mean()}
        for (arm, n), part in errors.items() for seed in range(seeds)
    ]  # fmt: skip
    return pd.DataFrame(runs), judge(errors, target=LONG, unit=UNIT, draws=200)


def draw_ratios(path):
    module.plot_ratios(curve_of(10, 50)[1], path, title=LONG)


def draw_lone_ratios(path):
    module.plot_ratios(curve_of(50)[1], path, title=LONG)


def draw_curve(path):
    frame, verdict = curve_of(10, 50)
    module.plot_curve(frame, path, verdict=verdict, guess=1.5, title=LONG)


def draw_lone_count(path):
    frame, verdict = curve_of(50)
    module.plot_curve(frame, path, verdict=verdict, guess=1.5, title=LONG)


def draw_map(path):
    points = pd.DataFrame(np.random.default_rng(0).normal(size=(9, 3)), columns=["pca_1", "pca_2", "target"])
    points = points.assign(arm=LONG, crystal_system="orthorhombic", element="O")
    plot_map(points, "pca", path, target=LONG, unit=UNIT, title=LONG)


def draw_heads(path):
    rows = [
        {"arm": group, "group": group, "head": "ridge", "labels": n, "seed": seed, "mae": 1 / n + 0.01 * seed}
        for group in module.STYLE for n in (10, 50) for seed in range(2)
    ]  # fmt: skip
    module.plot_heads(pd.DataFrame(rows), path, target=LONG, unit=UNIT, guess=0.2, title=LONG)


@pytest.mark.parametrize("draw", [draw_curve, draw_lone_count, draw_ratios, draw_lone_ratios, draw_map, draw_heads])
def test_nothing_is_cut(draw, tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(module, "save", lambda figure, path: kept.append(figure) or figures.save(figure, path))
    draw(tmp_path / "picture")
    assert outside(kept[0]) < 0.02  # less than two points
    assert {file.suffix for file in tmp_path.iterdir()} == {".png", ".svg"}


def test_one_number_of_labels_shows_the_intervals_of_the_verdict(tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(module, "save", lambda figure, _: kept.append(figure))
    frame, verdict = curve_of(50, arms=("scratch", "finetuned", "frozen"))
    module.plot_curve(frame, tmp_path / "picture.png", verdict=verdict, guess=100.0, title="study")
    (axes,) = kept[0].axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["scratch", "finetuned", "frozen"]
    bars = {int(line.get_ydata()[0]): line.get_xdata() for line in axes.get_lines() if line.get_linewidth() == 5
            and len(line.get_xdata())}  # fmt: skip
    dots = {int(line.get_ydata()[0]): line.get_xdata()[0] for line in axes.get_lines() if line.get_marker() == "o"}
    means = frame.groupby("arm")["mae"].mean()
    assert dots == pytest.approx({k: means[arm] for k, arm in enumerate(("scratch", "finetuned", "frozen"))})
    pairs = module.against_scratch(verdict)
    for row, arm in ((1, "finetuned"), (2, "frozen")):
        pair = pairs[arm, 50]
        np.testing.assert_allclose(bars[row], np.array([pair.ratio_low, pair.ratio_high]) * means["scratch"])
        # The bar lies wholly on the better side of the dashed line where the verdict says better.
        assert (pair.finding == "better") == (max(bars[row]) < means["scratch"])
    assert set(bars) == {1, 2}, "scratch is what others are compared with"


@pytest.mark.parametrize(("ending", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_the_ending_of_the_file_says_the_format(ending, start, tmp_path):
    for name in ("one", "two"):
        draw_lone_ratios(tmp_path / f"{name}.{ending}")
    one, two = (tmp_path / f"{name}.{ending}" for name in ("one", "two"))
    assert one.read_bytes().startswith(start) and one.read_bytes() == two.read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_other_formats_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"ends with .png, .svg or .pdf. Received: picture.docx"):
        draw_lone_ratios(tmp_path / "picture.docx")


def test_names_break_behind_the_signs_that_join_words():
    assert figures.wrapped("my_own_weights and more", 8 * 0.6 * 10 / 72, 10).split("\n") == [
        "my_own_",
        "weights",
        "and more",
    ]
    assert figures.wrapped("finetuned", 5, 10) == "finetuned"
    assert [figures.legend_columns(["x" * n], 7.2, 9) for n in (9, 30, 200)] == [3, 2, 1]
