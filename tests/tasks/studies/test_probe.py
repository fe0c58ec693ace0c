"""A study with probes from crystals to table and picture: every arm on the same terms, tiny data told in a sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from matgl_infomax.cli import main
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.errors import InputError
from matgl_infomax.io import SUMS
from matgl_infomax.nn.build import load_encoder, new_model, save_model
from matgl_infomax.settings.training import ModelSettings
from matgl_infomax.tasks.studies import probe as module
from matgl_infomax.tasks.studies.arms import state_hash
from matgl_infomax.tasks.studies.demo import write_crystals
from matgl_infomax.tasks.studies.probe import ProbeResult, probe
from tests.helpers.build import many
from tests.helpers.small_represent import small_encoder
from tests.helpers.vouched import assert_vouched
from tests.train.test_pretrain_matgl import SMALL

PLOT = module.plot_probes
ARMS = ["pretrained", "untrained-0", "untrained-1", "composition"]
SITE = ["element", "coordination_number", "nearest_distance", "second_shell"]
CRYSTAL = ["crystal_system", "space_group", "density", "volume_per_atom", "n_elements"]


def labelled(items: list[Crystal]) -> list[Crystal]:
    """Without some labels, and with a column of classes."""
    out = []
    for k, crystal in enumerate(items):
        known = {"y": crystal.labels["y"]} if k % 3 else {}
        out.append(replace(crystal, labels={**known, "bright": float(crystal.n_sites > 2), "one": 1.0}))
    return out


def run(items: list[Crystal], folder: Path, encoder: Path, **changes: Any) -> ProbeResult:
    """A small study without bars."""
    options = {"checkpoint": encoder, "untrained": 2, "out": folder / "out", "cache": folder / "cache"}
    return probe(items, progress=False, prepare_processes=1, **{**options, **changes})


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    return small_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def finished() -> dict[str, tuple[ProbeResult, Path]]:
    """Holds the one study that several tests look at."""
    return {}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No picture: one test looks at it."""
    monkeypatch.setattr(module, "plot_probes", lambda *_, **__: None)


@pytest.fixture
def whole(finished, crystals, tmp_path_factory, encoder, monkeypatch) -> tuple[ProbeResult, Path]:
    if not finished:
        monkeypatch.setattr(module, "plot_probes", PLOT)
        folder = tmp_path_factory.mktemp("whole")
        items = labelled(many(crystals, 60))
        finished["study"] = run(items, folder, encoder, target=["y", "bright", "one"], sites=100), folder
    return finished["study"]


def test_every_arm_answers_every_question(whole):
    scores = whole[0].scores
    asked = [*(("site", name) for name in SITE), *(("crystal", name) for name in [*CRYSTAL, "y", "bright"])]
    lines = [(level, name, probed, arm) for level, name in asked for probed in ("linear", "knn") for arm in ARMS]
    assert list(scores[["level", "target", "probe", "arm"]].itertuples(index=False, name=None)) == lines
    assert np.isfinite(scores["score"]).all() and (scores["score"] <= 1).all()
    n = scores.groupby("target")["n"].first()
    assert (n["nearest_distance"], n["density"], n["y"], n["bright"]) == (100, 60, 40, 60)
    assert n["element"] + scores.loc[scores["target"] == "element", "dropped"].iloc[0] == 100
    is_class = scores["kind"] == "class"
    assert set(scores.loc[is_class, "target"]) == {"element", "crystal_system", "space_group", "bright"}
    assert scores.loc[is_class, "mae"].isna().all() and scores.loc[~is_class, "balanced_accuracy"].isna().all()
    assert whole[0].left_out == ("one has fewer than two classes that occur in at least 5 crystals.",)


def test_structure_is_in_the_encoder_and_not_in_composition(whole):
    """Volumes were drawn at random: no composition knows them, and a network that sees distances does."""
    scores = whole[0].scores
    linear = scores[(scores["target"] == "nearest_distance") & (scores["probe"] == "linear")].set_index("arm")["score"]
    assert linear["pretrained"] > 0.9 > linear["composition"]


def test_files_card_and_picture(whole, encoder):
    result, folder = whole
    out = folder / "out"
    names = {"run.json", "probe.json", "scores.csv", "comparisons.csv", "vectors.csv", "summary.md"}
    assert_vouched(out, names - {"run.json"})
    names |= {"probes.png", "probes.svg"}
    assert {path.name for path in out.iterdir()} == {*names, SUMS, "probes"}
    pd.testing.assert_frame_equal(pd.read_csv(out / "scores.csv", keep_default_na=True)[["score"]],
                                  result.scores[["score"]])  # fmt: skip
    card = json.loads((out / "probe.json").read_text())
    assert card["encoder"] == state_hash(load_encoder(encoder))
    assert len(card["scores"]) == len(result.scores) and len(card["comparisons"]) == len(result.comparisons)
    assert card["sites"] == 100 and card["left_out"] and card["versions"]["packages"]["scikit-learn"]
    assert card["seconds"] > 0 and str(folder) not in json.dumps(card)
    text = (out / "summary.md").read_text()
    assert text == result.summary() and text in result.to_text() and str(folder) not in text
    for part in ("## site vectors", "| space group | knn | accuracy |", "| y | linear | R² |", "left out: one has"):
        assert part in text
    assert imread(out / "probes.png")[..., :3].std() > 0.05


def test_comparisons_and_ranks(whole):
    result = whole[0]
    assert set(result.comparisons["baseline"]) == {"untrained", "composition"}
    line = result.comparisons.set_index(["target", "probe", "baseline"]).loc[("density", "linear", "untrained")]
    mae = result.scores[(result.scores["target"] == "density") & (result.scores["probe"] == "linear")]
    by_arm = mae.set_index("arm")["mae"]
    assert line["error"] == pytest.approx(by_arm["pretrained"])
    assert line["baseline_error"] == pytest.approx(by_arm[["untrained-0", "untrained-1"]].mean())
    vectors = result.vectors.set_index(["arm", "level"])
    assert (vectors.loc[("composition", "site"), "dimensions"], len(vectors)) == (42, 8)
    assert (vectors["effective_rank"] > 1).all() and (vectors["effective_rank"] <= vectors["dimensions"]).all()


def test_study_repeats_bit_for_bit_in_its_folder(crystals, tmp_path, encoder):
    items = many(crystals, 24)
    settings: dict[str, Any] = {"untrained": 1, "probes": ["linear"], "sites": 40}
    one, two = (run(items, tmp_path, encoder, **settings) for _ in range(2))
    pd.testing.assert_frame_equal(one.scores, two.scores, check_exact=True)
    with pytest.raises(InputError, match="holds another run: its seed is 0, this one's is 1"):
        run(items, tmp_path, encoder, **settings, seed=1)


def test_a_stopped_study_goes_on_where_it_was(crystals, tmp_path, encoder, monkeypatch):
    items, real, calls = many(crystals, 24), module.cross_validate, []
    settings: dict[str, Any] = {"untrained": 1, "sites": 40}
    whole = run(items, tmp_path / "whole", encoder, **settings)

    def counted(*given):
        calls.append(given)
        if len(calls) == 8:  # the third question, asked of three arms
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(module, "cross_validate", counted)
    with pytest.raises(KeyboardInterrupt):
        run(items, tmp_path, encoder, **settings)
    resumed = run(items, tmp_path, encoder, **settings)
    questions = len(resumed.scores) // 3
    assert len(calls) == 8 + 3 * (questions - 2)
    pd.testing.assert_frame_equal(resumed.scores, whole.scores, check_exact=True)
    pd.testing.assert_frame_equal(resumed.comparisons, whole.comparisons, check_exact=True)
    table = next((tmp_path / "out" / "probes").glob("*.parquet"))
    table.write_bytes(b"damaged")
    run(items, tmp_path, encoder, **settings)
    assert len(calls) == 8 + 3 * (questions - 2) + 3, "damaged errors are found again"


@pytest.mark.parametrize("name", ["megnet", "tensornet"])
def test_networks_of_matgl_are_asked_too(name, crystals, tmp_path):
    model = new_model(ModelSettings(name=name, options=SMALL[name]), 1, seed=0)
    save_model(getattr(model, "network", model), tmp_path / "encoder", {})
    result = run(many(crystals, 24), tmp_path, tmp_path / "encoder", untrained=1, probes=["linear"], sites=40)
    assert set(result.scores["arm"]) == {"pretrained", "untrained-0", "composition"}
    assert set(result.scores["target"]) >= {*SITE[1:], "density", "volume_per_atom"}
    same = result.scores.pivot(index="target", columns="arm", values="score")
    assert (same["pretrained"] == same["untrained-0"]).all()  # the seed that made it


def test_tiny_data_get_a_sentence(crystals, tmp_path, encoder):
    with pytest.raises(InputError, match=r"5 folds need at least 5 crystals. Received: 4"):
        run(crystals[:4], tmp_path, encoder)
    with pytest.raises(InputError, match=r"not both. Received both: untrained"):
        probe(crystals, module.ProbeConfig(data="none", checkpoint=encoder, out=tmp_path), untrained=2)
    alike = [replace(crystals[0], id=f"{k}") for k in range(5)]
    with pytest.raises(InputError, match=r"Nothing can be asked of these crystals: element has fewer than two classes"):
        run(alike, tmp_path, encoder)


def test_five_crystals_are_enough(crystals, tmp_path, encoder):
    result = run(many(crystals[:1], 5), tmp_path, encoder, untrained=1)
    assert set(result.scores["target"]) == {"nearest_distance", "second_shell", "density", "volume_per_atom"}
    assert len(result.left_out) == 5


def test_command_line(crystals, tmp_path, encoder, capsys):
    write_crystals(labelled(many(crystals, 30)), tmp_path / "data.parquet")
    words = f"--data {tmp_path}/data.parquet --target y --checkpoint {encoder} --untrained 1 --probes linear --sites 50"
    words += f" --cache {tmp_path}/cache --out {tmp_path}/out"
    assert main(["probe", *words.split()]) == 0
    told = capsys.readouterr().out
    assert "| y | linear | R² |" in told and f"Table, card and picture: {tmp_path}/out" in told
    assert main(["probe", *words.replace("--target y", "--target wrong").split()]) == 2
    assert "wrong" in capsys.readouterr().err
