"""MatGL's own networks are pretrained into a folder that MatGL opens by itself, and go on after a power cut."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from matgl_infomax import cli
from matgl_infomax.api import pretrain
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.radius import RadiusRule
from matgl_infomax.data.store import build_store
from matgl_infomax.errors import InputError
from matgl_infomax.host import BACKEND, load_model
from matgl_infomax.nn import build
from matgl_infomax.nn.build import load_encoder, new_model
from matgl_infomax.nn.matgl_net import MatGLNet
from matgl_infomax.settings.training import ModelSettings, PretrainSettings
from matgl_infomax.train import pretrain as module
from matgl_infomax.train.loop import CHECKPOINT
from tests.helpers.build import many, store_of
from tests.helpers.kill import killed_at

SHORT = PretrainSettings(objective="infomax", steps=6, validate_every=3, batch_sites=30, validation_fraction=0.2)
SMALL = {
    "megnet": {"hidden_layer_sizes_input": [16, 8], "hidden_layer_sizes_conv": [16, 8], "nblocks": 1},
    "m3gnet": {"dim_node_embedding": 8, "dim_edge_embedding": 8, "units": 8, "nblocks": 1},
    "tensornet": {"units": 8, "nblocks": 1},
    "chgnet": {"num_blocks": 2, "dim_atom_embedding": 8, "dim_bond_embedding": 8, "dim_angle_embedding": 8},
    "so3net": {"nmax": 2, "lmax": 1, "nblocks": 1, "dim_node_embedding": 8},
}
NATIVE = {"megnet": "MEGNet", "m3gnet": "M3GNet", "tensornet": "TensorNet", "chgnet": "CHGNet", "so3net": "SO3Net"}
MEGNET = ModelSettings(name="megnet", options=SMALL["megnet"])

# What a person without this package does.
STRANGER = """
import json, sys, warnings
warnings.simplefilter("ignore")

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "matgl_infomax":
            raise ModuleNotFoundError("blocked: " + name)

sys.meta_path.insert(0, Blocked())
import matgl
from pymatgen.core import Lattice, Structure

model = matgl.load_model(sys.argv[1])
salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
value = float(model.predict_structure(salt.get_primitive_structure()).reshape(-1)[0])
print(json.dumps([type(model).__name__, value, "matgl_infomax" in sys.modules]))
"""


def items_of(crystals, name="megnet", n=24):
    """For SO3Net, which is slow, the smallest crystals."""
    return many([c for c in crystals if c.n_sites <= 2] if name == "so3net" else crystals, n)


def run(crystals, out, settings=SHORT, model=MEGNET):
    cache = out.parent / "cache"
    return pretrain(crystals, out, model=model, settings=settings, cache=cache, prepare_processes=1, progress=False)


def weights(folder):
    return torch.load(folder / "state.pt", weights_only=True)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("name", sorted(NATIVE))
def test_folder_holds_matgls_own_network_and_the_rest_beside_it(name, crystals, tmp_path):
    model = ModelSettings(name=name, options=SMALL[name])
    result = run(items_of(crystals, name, 12), tmp_path / "run", SHORT.model_copy(update={"steps": 3}), model)
    native = load_model(result.path)
    assert type(native).__name__ == NATIVE[name]
    assert {f.name for f in result.path.iterdir()} == {
        "model.json", "model.pt", "state.pt", "objective.pt", "pretrain.json", "run.json", "SHA256SUMS",
    }  # fmt: skip
    card = json.loads((result.path / "model.json").read_text())
    assert card["@module"].startswith("matgl.") and card["metadata"]["matgl_infomax"] == "pretrained"
    assert not [key for key in weights(result.path) if key.startswith(("network.", "head.", "target_"))]
    assert any(key.startswith("local_whole") for key in torch.load(result.path / "objective.pt", weights_only=True))
    entry = result.history[-1]
    assert all(np.isfinite(value) for value in entry.values())
    assert sum(key.startswith("validation/twins/") for key in entry) == 6
    assert {"validation/site_rank", "validation/crystal_spread", "validation/local", "train/global"} <= entry.keys()


def test_matgl_opens_it_where_this_package_is_unknown(crystals, tmp_path):
    result = run(items_of(crystals), tmp_path / "run")
    command = [sys.executable, "-c", STRANGER, str(result.path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    kind, value, known = json.loads(done.stdout.splitlines()[-1])
    salt = crystals[2].to_structure()
    assert kind == "MEGNet" and not known
    ours = load_model(result.path).predict_structure(salt, torch.zeros(1, 2))
    assert value == pytest.approx(float(ours.reshape(-1)[0]), abs=1e-5)


def test_training_moves_the_network_and_leaves_its_head(crystals, tmp_path):
    result = run(items_of(crystals), tmp_path / "run")
    fresh, learnt = new_model(MEGNET, 1, SHORT.seed), load_encoder(result.path)
    assert isinstance(learnt, MatGLNet)
    pairs = [(name, a, b) for (name, a), b in zip(
        fresh.network.named_parameters(), learnt.network.parameters(), strict=True
    )]  # fmt: skip
    moved = {name.partition(".")[0] for name, a, b in pairs if not torch.equal(a, b)}
    assert {"embedding", "blocks", "node_s2s"} <= moved and "output_proj" not in moved


def test_pretrained_encoder_gives_the_vectors_of_its_last_validation(crystals, tmp_path):
    """What is opened again is what was validated: the rank of the vectors of the held-out crystals is the same."""
    from matgl_infomax.objectives.base import effective_rank

    result = run(items_of(crystals), tmp_path / "run")
    store = build_store(items_of(crystals), RadiusRule(4.0), tmp_path / "cache", progress=False)
    _, held_out = module._split(np.arange(24), SHORT)
    with torch.no_grad():
        vectors = load_encoder(result.path).eval().encode(store.batch(held_out)).crystal
    best = next(entry for entry in result.history if entry["step"] == result.best_step)
    assert effective_rank(vectors) == pytest.approx(best["validation/crystal_rank"], rel=1e-3)


@pytest.mark.parametrize("step", [1, 4])
def test_killed_run_ends_with_the_same_weights_bit_for_bit(step, crystals, tmp_path):
    items = items_of(crystals)
    whole = run(items, tmp_path / "whole")
    with killed_at(step, module.PretrainModule):
        run(items, tmp_path / "cut")
    resumed = run(items, tmp_path / "cut")
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut")) and whole.history == resumed.history
    assert not (tmp_path / "cut" / CHECKPOINT).exists()


def test_elements_beyond_the_usual_ones_are_taken_in_and_told(crystals, tmp_path, capsys):
    heavy = Crystal("Rf", np.array([104]), crystals[1].lattice, crystals[1].frac)
    result = run([*items_of(crystals, n=12), heavy], tmp_path / "run")
    assert load_encoder(result.path).element_types[-1] == "Rf"
    assert "the data hold Rf" in capsys.readouterr().err
    assert "data hold" not in capsys.readouterr().err


def test_mistakes_leave_the_folder_unclaimed(crystals, tmp_path):
    items, out = items_of(crystals), tmp_path / "run"
    wrong = SHORT.model_copy(update={"objective_preset": "published"})
    with pytest.raises(InputError, match="without positions"):
        run(items, out, wrong)
    with pytest.raises(InputError, match=r"no option width\. Options: .*nblocks"):
        run(items, out, model=ModelSettings(name="megnet", options={"width": 3}))
    assert not out.exists()
    run(items, out)


def test_store_of_supercells_is_refused(crystals, tmp_path):
    store = store_of(items_of(crystals), tmp_path)
    with pytest.raises(InputError, match=r"needs pairs by RadiusRule\(cutoff_angstrom=4.0"):
        module.pretrain_encoder(store, np.arange(24), tmp_path / "run", SHORT, MEGNET, progress=False)


def test_cutoff_of_the_network_decides_the_pairs(crystals, tmp_path):
    longer = ModelSettings(name="megnet", options={**SMALL["megnet"], "cutoff": 4.5})
    assert build.edge_rule(longer) == RadiusRule(4.5) and build.edge_rule(MEGNET) == RadiusRule(4.0)
    run(items_of(crystals), tmp_path / "run", model=longer)
    stores = [json.loads(file.read_text())["rule"] for file in (tmp_path / "cache").glob("store-*/store.json")]
    assert stores == [{"cutoff_angstrom": 4.5, "primitive": False}]


def test_command_line(crystals, tmp_path, capsys):
    rows = [
        {"id": c.id, "lattice": c.lattice.ravel(), "atomic_numbers": c.numbers, "frac_coords": c.frac.ravel()}
        for c in items_of(crystals)
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "crystals.parquet")
    words = [
        "pretrain",
        "--data",
        tmp_path / "crystals.parquet",
        "--cache",
        tmp_path / "cache",
        "--out",
        tmp_path / "run",
    ]
    words += ["--model", "megnet", "--model.options", "nblocks=1", "--steps", 2, "--validate-every", 2]
    assert cli.main([str(word) for word in [*words, "--batch-sites", 30]]) == 0
    assert "Loss on crystals that were held out" in capsys.readouterr().out
    assert type(load_model(tmp_path / "run")).__name__ == "MEGNet"


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "DGL", reason="one backend is enough for what Lightning does with processes")
def test_two_processes_learn_the_same(crystals, tmp_path):
    one = run(items_of(crystals), tmp_path / "one")
    two = run(items_of(crystals), tmp_path / "two", SHORT.model_copy(update={"processes": 2}))
    for a, b in zip(one.history, two.history, strict=True):
        assert a["validation/loss"] == pytest.approx(b["validation/loss"], rel=1e-3)


KNOWN = ("Na", "Cl", "Mg", "O", "Li", "F", "Cs", "Zn", "S", "Ga", "As")


def test_checkpoint_that_lacks_an_element_is_refused_or_extended(crystals, tmp_path, capsys):
    from matgl_infomax.api import embed, finetune, predict
    from matgl_infomax.settings.training import FinetuneSettings

    MatGLNet.new("megnet", element_types=KNOWN, options=SMALL["megnet"]).network.save(tmp_path / "init")
    items = many(crystals[1:8], 21)  # polonium among them
    common = {"cache": tmp_path / "cache", "prepare_processes": 1, "progress": False}
    settings = FinetuneSettings(steps=3, validate_every=3)
    with pytest.raises(InputError, match=r"hold Po, but .*init knows 11 elements.*--extend-elements"):
        finetune(items, "y", tmp_path / "run", init=tmp_path / "init", settings=settings, **common)
    for command in (embed, predict):
        other = tmp_path / "init"
        if command is predict:
            finetune(
                [c for c in items if 84 not in c.numbers],
                "y",
                tmp_path / "old",
                init=other,
                settings=settings,
                **common,
            )
            other = tmp_path / "old"
        with pytest.raises(InputError, match=r"hold Po, but .* knows 11 elements"):
            command(items, other, **common)
    # The folder was written by MatGL's own way of saving, which has no hashes: that is said once, and nothing else.
    (said,) = capsys.readouterr().err.splitlines()
    assert "holds no SHA256SUMS" in said
    done = finetune(
        items, "y", tmp_path / "run", init=tmp_path / "init", settings=settings, extend_elements=True, **common
    )
    assert capsys.readouterr().err.count("did not know Po") == 1
    assert done.fitted.model.element_types == (*KNOWN, "Po")
    table = predict(items, tmp_path / "run", **common)
    assert len(table) == 21 and np.isfinite(table["y"]).all()
    assert np.isfinite(embed(items, tmp_path / "run", **common).drop(columns="id").to_numpy()).all()
