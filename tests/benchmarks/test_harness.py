"""The benchmarks themselves: the stand-in computes the same network, the table judges rightly, nothing runs unasked."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.store import Store
from matgl_infomax.nn.sitenet import PRESETS
from tests.benchmarks import floor, material, memory
from tests.benchmarks.plain_sitenet import PlainSiteNet, plain_batch
from tests.benchmarks.report import MET, MISSED, SHOWN, SKIPPED, Line, Table, as_markdown, as_text
from tests.benchmarks.steps import STEPS, predictions
from tests.helpers.build import store_of


@pytest.fixture
def store(crystals: list[Crystal], tmp_path: Path) -> Store:
    return store_of(crystals, tmp_path)


def test_plain_formula_gives_the_same_predictions_and_gradients(store: Store) -> None:
    rows = list(range(len(store)))
    model = material.published_network(seed=3)
    plain = PlainSiteNet(model)
    mine = predictions(model, material.read_batch(store, rows, "merged"))
    theirs = plain(plain_batch(material.read_batch(store, rows, "full")))
    assert float(theirs.detach().std()) > 0.01
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    factor = torch.linspace(-1.0, 2.0, len(rows))
    (mine * factor).sum().backward()
    (theirs * factor).sum().backward()
    gradients = {name.replace(".", "/"): p.grad for name, p in model.named_parameters()}
    scale = max(float(g.norm()) for g in gradients.values() if g is not None)
    for name, weight in plain.weights.items():
        if weight.grad is None:
            assert "blocks/1/pair_update" in name
            continue
        ours = gradients[name]
        assert ours is not None, name
        assert float((ours - weight.grad).norm()) <= 1e-3 * float(weight.grad.norm()) + 1e-6 * scale, name


@pytest.mark.parametrize("kind", STEPS)
def test_every_step_changes_the_weights_and_lowers_the_loss(kind: str, store: Store) -> None:
    prepare, step = STEPS[kind]()
    rows = list(range(len(store)))
    # Deep InfoMax draws new negatives at each step, so single losses are compared over many steps.
    losses = [float(step(prepare(store, rows))) for _ in range(30)]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


def test_batches_hold_the_sites_asked_for(store: Store) -> None:
    batches = material.batches_of(store, 4, sites=15)
    assert len(batches) == 4
    sizes = [int(store.n_sites[rows].sum()) for rows in batches]
    assert max(sizes) <= 15
    assert min(sizes) >= 10


def test_the_sample_is_that_of_the_anchor(shared: Path) -> None:
    sample = material.crystals(100)
    assert [c.id for c in sample[:60]] == [c.id for c in material.crystals(60)]
    assert max(c.n_sites for c in sample) <= material.LARGEST_CELL
    assert 9 < np.mean([c.n_sites for c in sample]) < 14


def test_peak_of_memory_sees_what_was_freed_again() -> None:
    memory.reset_peak()
    before = memory.resident("VmHWM")
    block = np.ones(20_000_000)
    assert block[-1] == 1
    del block
    assert memory.resident("VmHWM") - before > 150
    memory.reset_peak()
    assert memory.resident("VmHWM") - before < 100


def test_floor_of_the_smallest_network_by_hand() -> None:
    shape = {"pair_width": 1, "logit_width": 1, "value_widths": (1,), "n_heads": 1, "n_blocks": 1, "update": True}
    # pair_in 2 + 2; product 1+2 forward, twice 2+1 backward; elements 2+2 forward, 2+2+2 backward; softmax 2 and 4.
    assert sum(floor.floats_per_pair({**shape, "pair_channels": ("distance",)}).values()) == 4 + 3 + 6 + 4 + 6 + 2 + 4
    assert floor.bytes_per_pair(PRESETS["published"]) == 16_712


def run_of(**seconds: float) -> dict[str, Any]:
    """A made-up JSON of pytest-benchmark: times for 100 units, or memory."""
    names = ["test_step[ours]", "test_step[plain]"]
    runs = [
        {"name": n, "stats": {"median": s}, "extra_info": {"units": 100, "mp": 1}}
        for n, s in zip(names, (seconds["ours"], seconds["plain"]), strict=True)
    ]
    for kind, mb in (("ours", 100.0), ("plain", 600.0)):
        info = {"step_mb": mb, "process_mb": mb + 500}
        runs.append({"name": f"test_memory[{kind}]", "stats": {"median": 0.0}, "extra_info": info})
    left_out = {
        "test_same_outputs": ["failed", "ValueError: no"],
        "test_gpu_step": ["skipped", "no GPU on this machine"],
    }
    return {"benchmarks": runs, "left_out": left_out}


def verdicts(table: Table) -> dict[str, Line]:
    return {line.what: line for line in table.lines}


def test_table_judges_by_the_bars() -> None:
    table = Table(run_of(ours=0.1, plain=1.25), threads=1, quick=False, part=True)
    lines = verdicts(table)
    assert lines["Site-Net step, crystals/s, against the published code"].cells[1:4] == ("1,000", "75", "13.3")
    assert lines["Site-Net step, crystals/s, against the published code"].verdict == MET
    assert lines["plain formula, crystals/s: a fair stand-in?"].verdict == MET
    assert lines["Site-Net step, crystals/s, against the plain formula"].cells[3] == "12.5"
    assert lines["Site-Net step, its peak in MB"].cells[1:5] == ("100", "600", "6.0", "600 / 1,100")
    assert lines["difference from the plain formula, relative"].verdict == f"{MISSED} (failed: ValueError: no)"
    assert lines["Site-Net step on the GPU against its memory traffic, ms"].verdict.startswith(SKIPPED)
    assert (table.count(MISSED), table.count(SKIPPED)) == (1, 1)


def test_a_slow_run_misses_its_bars_and_the_bar_rises_with_the_threads() -> None:
    what = "Site-Net step, crystals/s, against the published code"
    assert verdicts(Table(run_of(ours=0.12, plain=1.5), 1, False, part=True))[what].verdict == MET
    assert verdicts(Table(run_of(ours=0.12, plain=1.5), 2, False, part=True))[what].verdict == MISSED
    slow = verdicts(Table(run_of(ours=0.12, plain=1.5), 1, False, part=True))
    assert slow["plain formula, crystals/s: a fair stand-in?"].verdict == MISSED
    assert verdicts(Table(run_of(ours=9.0, plain=1.5), 1, True, part=True))[what].verdict == SHOWN


def test_what_did_not_run_is_a_missed_bar_unless_only_a_part_was_asked_for() -> None:
    whole, part = (Table(run_of(ours=0.1, plain=1.0), 1, False, part=part) for part in (False, True))
    assert verdicts(whole)["Deep InfoMax step, crystals/s"].verdict == f"{MISSED} (test_step[infomax] did not run)"
    assert "Deep InfoMax step, crystals/s" not in verdicts(part)


def test_generated_crystals_are_not_compared_with_the_published_rate() -> None:
    data = run_of(ours=0.1, plain=1.0)
    for run in data["benchmarks"][:2]:
        run["extra_info"]["mp"] = 0
    lines = verdicts(Table(data, 1, False, part=True))
    assert lines["Site-Net step, crystals/s, against the published code"].verdict.startswith(SKIPPED)
    assert "plain formula, crystals/s: a fair stand-in?" not in lines
    assert lines["Site-Net step, crystals/s, against the plain formula"].cells[3] == "10.0"


def test_text_and_markdown_hold_the_same_lines() -> None:
    lines = Table(run_of(ours=0.1, plain=1.0), 1, False).lines
    text, markdown = as_text(lines).splitlines(), as_markdown(lines).splitlines()
    assert len(text) == len(markdown) == len(lines) + 2
    assert all(line.what in a and line.what in b for line, a, b in zip(lines, text[2:], markdown[2:], strict=True))


def test_a_plain_pytest_neither_collects_nor_mentions_benchmarks(request: pytest.FixtureRequest) -> None:
    collected = request.config.getini("python_files")
    names = [path.name for path in Path(__file__).parent.glob("*.py")]
    assert [name for name in names if any(fnmatch(name, one) for one in collected)] == ["test_harness.py"]
    assert not request.config.pluginmanager.hasplugin("benchmark")
