"""What one installation of MatGL saved opens in the other, and predicts the same: pretrain on DGL, use on PyG."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("megnet", "m3gnet", "tensornet")
STACKS = {"dgl": (".venv", "DGL"), "pyg": (".venv-pyg", "PYG")}
"""Environment and backend of each installation; environments lie where the Makefile builds them."""

CRYSTALS = """
import json, sys, warnings
warnings.simplefilter("ignore")
import torch
from matgl_infomax import host
from matgl_infomax.contracts import example_crystals, radius_batch

out, names = sys.argv[1], sys.argv[2:]
crystals = example_crystals()

def predictions(net):
    single = [float(net.network.predict_structure(c.to_structure())) for c in crystals]
    net = net.double()
    batch = radius_batch(crystals, net.edges.cutoff_angstrom)
    with torch.no_grad():
        crystal = net.encode(batch).crystal
        return {"network": single, "net": net(batch).tolist(), "vectors": crystal.tolist()}
"""

WRITE = (
    CRYSTALS
    + """
from matgl_infomax.nn.matgl_net import MatGLNet

for name in names:
    net = MatGLNet.new(name, seed=3, head_widths=(8,))
    draw = torch.Generator().manual_seed(5)
    for parameter in net.parameters():
        # Initial weights forgive many a mistake; these do not.
        parameter.data.add_(torch.randn(parameter.shape, generator=draw), alpha=0.1)
    net.target_mean.fill_(-1.5)
    net.target_std.fill_(0.7)
    net.save(f"{out}/{name}-net")
    net.network.save(f"{out}/{name}-network")
    json.dump([host.BACKEND, predictions(net)], open(f"{out}/{name}.json", "w"))
"""
)

READ = (
    CRYSTALS
    + """
import matgl
from matgl_infomax.nn.build import load_encoder

for name in names:
    net, network = load_encoder(f"{out}/{name}-net"), load_encoder(f"{out}/{name}-network")
    plain = matgl.load_model(f"{out}/{name}-network")
    found = predictions(net)
    found["network by MatGL"] = [float(plain.predict_structure(c.to_structure())) for c in crystals]
    found["vectors of the network"] = predictions(network)["vectors"]
    json.dump([host.BACKEND, found], open(f"{out}/{name}-{host.BACKEND}.json", "w"))
"""
)


def run(stack: str, code: str, *arguments: str) -> None:
    """Run code in one of the installations."""
    folder, backend = STACKS[stack]
    env = os.environ | {"MATGL_BACKEND": backend, "OMP_NUM_THREADS": "1"}
    command = [str(ROOT / folder / "bin" / "python"), "-c", code, *arguments]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module", params=["dgl to pyg", "pyg to dgl"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """For each network what its writer and its reader predict."""
    for folder, _ in STACKS.values():
        if not (ROOT / folder / "bin" / "python").is_file():
            pytest.skip(f"needs both installations, and {folder} is not there: make venv STACK=dgl, and STACK=pyg")
    writer, _, reader = request.param.partition(" to ")
    out = tmp_path_factory.mktemp("cross")
    run(writer, WRITE, str(out), *NAMES)
    run(reader, READ, str(out), *NAMES)
    files = {name: (out / f"{name}.json", out / f"{name}-{STACKS[reader][1]}.json") for name in NAMES}
    found = {name: [json.loads(file.read_text()) for file in pair] for name, pair in files.items()}
    assert all((w[0], r[0]) == (STACKS[writer][1], STACKS[reader][1]) for w, r in found.values())
    return {name: [w[1], r[1]] for name, (w, r) in found.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_of_one_stack_predicts_the_same_on_the_other(both: dict[str, list[Any]], name: str) -> None:
    written, read = both[name]
    for kind in ("network", "net"):
        assert max(written[kind]) - min(written[kind]) > 1e-2, "all crystals look alike, so this would prove little"
        assert read[kind] == pytest.approx(written[kind], rel=0, abs=1e-6)
    assert read["network by MatGL"] == pytest.approx(written["network"], rel=0, abs=1e-6)
    for kind in ("vectors", "vectors of the network"):
        for ours, theirs in zip(read[kind], written["vectors"], strict=True):
            assert ours == pytest.approx(theirs, rel=0, abs=1e-6)
