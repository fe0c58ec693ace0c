"""MatGL's own networks are saved natively, trained by MatGL itself, and taken over with every weight or not at all."""

from __future__ import annotations

from matgl_infomax import host  # chooses the backend before MatGL is imported

# isort: split
import copy
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as pl
import numpy as np
import pytest
import torch
from matgl.apps.pes import Potential
from matgl.ext.pymatgen import Structure2Graph
from matgl.graph.data import MGLDataLoader, MGLDataset, collate_fn_graph
from matgl.models import CHGNet, M3GNet, MEGNet, SO3Net, TensorNet
from matgl.utils.training import ModelLightningModule

from matgl_infomax.contracts import radius_batch
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.errors import InputError
from matgl_infomax.nn.build import load_encoder, save_model, with_new_head
from matgl_infomax.nn.matgl_net import MatGLNet
from tests.helpers.matgl_small import SMALL, net_of, same_weights

OPEN_NATIVE = """
import json, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "matgl_infomax":
            raise ModuleNotFoundError("blocked: " + name)
sys.meta_path.insert(0, Blocked())
import matgl
from pymatgen.core import Structure
structures = [Structure.from_dict(d) for d in json.load(open({structures!r}))]
for folder in {folders}:
    model = matgl.load_model(folder)
    print(json.dumps([type(model).__name__, *(float(model.predict_structure(s).detach()) for s in structures)]))
"""


@pytest.mark.filterwarnings("ignore:For a single graph")  # MatGL's own call of MEGNet
def test_the_network_opens_where_this_package_is_unknown(
    few: list[Crystal], tmp_path: Path, fresh_process: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    structures, expected = [c.to_structure() for c in few], []
    for name in SMALL:
        net = net_of(name)
        save_model(net.network, tmp_path / name, {"made by": "a test"})
        predictions = [float(net.network.predict_structure(s).detach()) for s in structures]
        expected.append([type(net.network).__name__, *predictions])
    (tmp_path / "structures.json").write_text(json.dumps([s.as_dict() for s in structures]))
    folders = [str(tmp_path / name) for name in SMALL]
    code = OPEN_NATIVE.format(structures=str(tmp_path / "structures.json"), folders=folders)
    done = fresh_process(code, MATGL_BACKEND=host.BACKEND, DGLBACKEND="pytorch")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line[0] for line in found] == ["MEGNet", "M3GNet", "TensorNet", "CHGNet", "SO3Net"], done.stderr
    # Another process may add up in another order, by a single bit: vectors of numbers lie elsewhere in memory.
    for there, here in zip(found, expected, strict=True):
        assert there[0] == here[0] and there[1:] == pytest.approx(here[1:], rel=1e-6)


@pytest.mark.parametrize("name", ["megnet", "m3gnet", "tensornet", "chgnet", "so3net"])
@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")
def test_matgls_lightning_module_trains_the_network(
    name: str, crystals: list[Crystal], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    net_of(name).network.save(tmp_path / "native")
    native = host.load_model(tmp_path / "native")
    before = copy.deepcopy(native.state_dict())
    used = crystals[2:4] if name == "so3net" else crystals
    dataset = MGLDataset(
        converter=Structure2Graph(native.element_types, cutoff=native.cutoff),
        structures=[crystal.to_structure() for crystal in used],
        labels={"y": [crystal.labels["y"] for crystal in used]},
        save_cache=False,
    )
    loaders = MGLDataLoader(dataset, dataset, collate_fn=collate_fn_graph, batch_size=4, num_workers=0)
    trainer = pl.Trainer(
        max_steps=3, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(ModelLightningModule(native, lr=1e-3), *loaders)
    assert trainer.global_step == 3
    after = native.state_dict()
    moved = [key for key in after if not torch.equal(after[key], before[key])]
    assert all(bool(torch.isfinite(value).all()) for value in after.values())
    assert len(moved) > len(after) / 2


@pytest.mark.parametrize("name", ["megnet", "m3gnet", "tensornet", "chgnet", "so3net"])
def test_saved_and_opened_with_its_head(name: str, few: list[Crystal], tmp_path: Path) -> None:
    net = net_of(name, n_targets=2, head_widths=(8,))
    net.target_mean.fill_(-1.5)
    net.save(tmp_path / "whole")
    again = load_encoder(tmp_path / "whole")
    assert isinstance(again, MatGLNet)
    assert again.init_args == net.init_args
    assert same_weights(again, net)
    structure = few[1].to_structure()
    assert torch.equal(again.predict_structure(structure), net.predict_structure(structure))
    fresh = with_new_head(again, 1, seed=9)
    assert same_weights(fresh.network, net.network)
    assert fresh.n_targets == 1
    assert same_weights(fresh.head, with_new_head(net, 1, seed=9).head)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (MEGNet, {"cutoff": 5.0, "nblocks": 2}),
        (M3GNet, {"nblocks": 1, "readout_type": "set2set"}),
        (M3GNet, {"nblocks": 1, "is_intensive": False}),
        (TensorNet, {"nblocks": 1, "readout_type": "reduce_atom"}),
        (TensorNet, {"nblocks": 1, "is_intensive": False}),
        (CHGNet, {"num_blocks": 2, "threebody_cutoff": 0.0}),
        (SO3Net, {"nmax": 2, "lmax": 1, "nblocks": 1}),
        (SO3Net, {"nmax": 2, "lmax": 1, "nblocks": 1, "is_intensive": False}),
    ],
)
def test_any_network_of_matgl_is_taken_over(
    kind: Any, arguments: dict[str, Any], few: list[Crystal], tmp_path: Path
) -> None:
    native = kind(element_types=("N", "O", "Na", "Cl", "K", "Cu", "Ga", "Xe"), **arguments)
    native.save(tmp_path)
    for net in (MatGLNet.from_native(native, seed=1), load_encoder(tmp_path)):
        assert same_weights(net.network, native)
        assert net.network is not native
        assert net.edges.cutoff_angstrom == native.cutoff
        encoding = net.encode(radius_batch(few, native.cutoff).to("cpu", torch.float32))
        assert encoding.site.shape[1] == net.site_vector_width
        assert encoding.crystal.shape == (4, net.crystal_vector_width)
        assert bool(torch.isfinite(encoding.crystal).all())
        if not getattr(native, "is_intensive", True):
            torch.testing.assert_close(encoding.crystal[1], encoding.site[1:3].mean(0))


def test_a_potential_is_taken_over_from_its_folder(few: list[Crystal], tmp_path: Path) -> None:
    inner = M3GNet(element_types=("N", "O", "Na", "Cl", "K", "Cu", "Ga", "Xe"), nblocks=1, is_intensive=False)
    references = np.arange(8, dtype=np.float64)
    Potential(inner, data_mean=0.3, data_std=2.0, element_refs=references).save(tmp_path)
    potential = host.load_model(tmp_path)
    assert isinstance(potential, Potential)
    net = load_encoder(tmp_path)
    assert same_weights(net.network, inner)
    assert net.encode(radius_batch(few).to("cpu", torch.float32)).crystal.shape == (4, 64)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    lost = next(key for key in state if key.startswith("model.graph_layers"))
    torch.save({key: value for key, value in state.items() if key != lost}, tmp_path / "state.pt")
    with pytest.raises(InputError, match=lost):
        load_encoder(tmp_path)


def test_a_potential_of_a_foreign_class_is_refused(tmp_path: Path) -> None:
    Potential(MEGNet(element_types=("Na", "Cl")), element_refs=np.zeros(2)).save(tmp_path)
    arguments = torch.load(tmp_path / "model.pt", weights_only=False)
    arguments["model"] |= {"@module": "os", "@class": "mkdir"}
    torch.save(arguments, tmp_path / "model.pt")
    with pytest.raises(InputError, match=r"asks for os.mkdir, which is no known MatGLModel or Potential"):
        load_encoder(tmp_path)


def test_incomplete_weights_are_named(tmp_path: Path) -> None:
    net_of("megnet").network.save(tmp_path)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    torch.save({("else" if key == "node_encoder.layers.0.bias" else key): v for key, v in state.items()},
               tmp_path / "state.pt")  # fmt: skip
    with pytest.raises(InputError, match=r"node_encoder\.layers\.0\.bias"):
        load_encoder(tmp_path)


def test_load_exactly_says_what_does_not_fit() -> None:
    network = net_of("megnet").network
    state = network.state_dict()
    name = "output_proj.layers.0.weight"
    wrong = {("more" if key == name else key): value for key, value in state.items()}
    with pytest.raises(InputError, match=rf"of the file do not fit MEGNet. Missing: {name}. Unexpected: more"):
        host.load_exactly(network, wrong, "the file")
    with pytest.raises(InputError, match=f"size mismatch for {name}"):
        host.load_exactly(network, state | {name: torch.zeros(2, 2)}, "the file")


def test_other_models_are_no_encoders() -> None:
    with pytest.raises(InputError, match=r"A Linear cannot be used as an encoder. Known networks of MatGL: MEGNet"):
        MatGLNet.from_native(torch.nn.Linear(2, 2))
    with pytest.raises(InputError, match="dipole_moment"):
        MatGLNet.from_native(SO3Net(element_types=("Na",), target_property="dipole_moment", nmax=2, lmax=1))
