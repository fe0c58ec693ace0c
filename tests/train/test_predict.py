"""From a model and crystals to numbers: the order of the rows, batches of any size, vectors of sites and crystals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from matgl_infomax.data.store import build_store
from matgl_infomax.errors import DivergedError
from matgl_infomax.nn.build import edge_rule, new_model
from matgl_infomax.settings.training import ModelSettings
from matgl_infomax.train.predict import embed_rows, predict_rows, view_for
from tests.helpers.build import many, store_of

MODEL = ModelSettings(supercell_atoms=20)
MEGNET = ModelSettings(
    name="megnet", options={"hidden_layer_sizes_input": [16, 8], "hidden_layer_sizes_conv": [16, 8], "nblocks": 1}
)


@pytest.fixture
def data(crystals, tmp_path):
    items = many(crystals, 60)
    return store_of(items, tmp_path / "cache"), np.array([[c.labels["y"]] for c in items])


def test_prediction_does_not_depend_on_batching_or_order(data, monkeypatch):
    store, _ = data
    model = new_model(MODEL, 1, 0)
    rows = np.array([7, 3, 59, 0, 22])
    whole = predict_rows(model, store, np.arange(60))
    monkeypatch.setattr("matgl_infomax.train.predict.BATCH_SITES", 6)
    np.testing.assert_allclose(predict_rows(model, store, rows), whole[rows], rtol=1e-5, atol=1e-6)
    sites = embed_rows(model, store, rows, level="site")
    assert [len(s) for s in sites] == store.n_sites[rows].tolist()
    alone = [embed_rows(model, store, [row], level="site")[0] for row in rows]
    for a, b in zip(sites, alone, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("settings", [MODEL, MEGNET], ids=["sitenet", "megnet"])
def test_numbers_are_those_of_the_network_crystal_by_crystal(settings, crystals, tmp_path):
    store = build_store(crystals, edge_rule(settings), tmp_path, progress=False)
    model = new_model(settings, 2, 0).train()
    rows, geometry = [8, 0, 8, 11], settings is MEGNET
    found, vectors = predict_rows(model, store, rows), embed_rows(model, store, rows)
    sites = embed_rows(model, store, rows, level="site")
    assert model.training, "a model in training stays there"
    model.eval()
    for k, row in enumerate(rows):
        batch = store.batch([row], geometry=geometry)
        with torch.no_grad():
            encoding, answer = model.encode(batch), model(batch)
        np.testing.assert_allclose(found[k], answer[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(vectors[k], encoding.crystal[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(sites[k], encoding.site, rtol=1e-4, atol=1e-5)
    assert found.dtype == vectors.dtype == np.float64 and found.shape == (4, 2)


def test_predictions_that_are_no_numbers_are_refused(data):
    model = new_model(MODEL, 1, 0)
    with torch.no_grad():
        next(iter(model.head.parameters())).fill_(float("nan"))
    with pytest.raises(DivergedError, match=r"no finite number for 2 of 2 crystals \(.*\): its training diverged"):
        predict_rows(model, data[0], [4, 9])


def test_no_rows_give_no_numbers(data):
    model = new_model(MODEL, 1, 0)
    assert predict_rows(model, data[0], []).size == 0 and embed_rows(model, data[0], []).size == 0


def test_the_view_is_what_the_network_reads():
    """Equal sites are computed once unless positions are read, or a vector of each is wanted."""
    distances, geometry = new_model(MODEL, 1, 0), new_model(MEGNET, 1, 0)
    assert [view_for(distances), view_for(distances, sites=True)] == ["merged", "both"]
    assert [view_for(geometry), view_for(geometry, sites=True)] == ["full", "full"]
