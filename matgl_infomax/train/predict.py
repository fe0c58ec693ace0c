"""From a trained model and crystals to numbers: predictions, site vectors, crystal vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from matgl_infomax.console import progress_bar
from matgl_infomax.data.batch import SiteBatch, View
from matgl_infomax.data.loader import StoreBatches, group_by_sites
from matgl_infomax.data.store import Store
from matgl_infomax.errors import DivergedError
from matgl_infomax.nn.build import Encoder
from matgl_infomax.train.ranks import computing_on

BATCH_SITES = 2000
"""Sites at once where no gradient is kept; the result does not depend on it."""


def predict_rows(
    model: Encoder, store: Store, rows: Sequence[int] | NDArray[np.int64], *, progress: bool = False
) -> NDArray[np.float64]:
    """Predict properties in physical units, or probabilities of class 1, (n, T).

    Args:
        model: a fine-tuned model.
        store: prepared crystals.
        rows: rows of the store, (n,); the order of the result.
        progress: show a bar.

    Raises:
        DivergedError: If a prediction is no finite number.
    """

    def one(batch: SiteBatch) -> Tensor:
        return model(batch).view(batch.n_crystals, -1)  # (B, T)

    found = _over_batches(model, store, rows, one, progress, "Predicting")
    wrong = np.flatnonzero(~np.isfinite(found).all(axis=1))
    if len(wrong):
        ids = [store.ids[int(row)] for row in np.asarray(rows, dtype=np.int64)[wrong[:3]]]
        few = ", ".join(ids) + (", ..." if len(wrong) > 3 else "")
        raise DivergedError(
            f"The model predicts no finite number for {len(wrong)} of {len(found)} crystals ({few}): its training "
            "diverged, or its weights are damaged. Train it again, with a lower learning rate."
        )
    return found


def embed_rows(
    model: Encoder,
    store: Store,
    rows: Sequence[int] | NDArray[np.int64],
    *,
    level: Literal["crystal", "site"] = "crystal",
    progress: bool = False,
) -> Any:
    """Vectors of crystals, (n, C), or a list of the vectors of each crystal's sites, (N, D) each.

    Args:
        model: an encoder, pretrained or not.
        store: prepared crystals.
        rows: rows of the store, (n,); the order of the result.
        level: which vectors.
        progress: show a bar.
    """
    if level == "crystal":
        return _over_batches(model, store, rows, lambda batch: model.encode(batch).crystal, progress, "Embedding")
    flat = _over_batches(model, store, rows, lambda batch: model.encode(batch).site, progress, "Embedding", "site")
    return np.split(flat, np.cumsum(store.n_sites[np.asarray(rows, dtype=np.int64)])[:-1])


def _over_batches(
    model: Encoder,
    store: Store,
    rows: Sequence[int] | NDArray[np.int64],
    function: Callable[[SiteBatch], Tensor],
    progress: bool,
    description: str,
    unit: str = "crystal",
) -> NDArray[np.float64]:
    """Apply a function batch by batch, largest crystals last, and put the results back in order."""
    data = StoreBatches(store, np.asarray(rows, dtype=np.int64))
    by_size = np.argsort(data.sizes, kind="stable")
    view = view_for(model, sites=unit == "site")
    precision = next(model.parameters()).dtype
    training = model.training
    model.eval()
    parts: list[NDArray[np.float64]] = []
    with torch.no_grad(), computing_on(model) as device:
        batches = group_by_sites(data.sizes, by_size, BATCH_SITES)
        for batch in progress_bar(batches, desc=description, unit="batch", shown=progress):
            moved = store.batch(data.rows[batch], view=view).to(device, precision)
            parts.append(function(moved).cpu().double().numpy())
    model.train(training)
    if not parts:
        return np.empty((0, 0))
    sorted_values = np.concatenate(parts)
    if unit == "crystal":
        values = np.empty_like(sorted_values)
        values[by_size] = sorted_values
        return values
    pieces = np.split(sorted_values, np.cumsum(data.sizes[by_size])[:-1])
    return np.concatenate([pieces[place] for place in np.argsort(by_size)])


# Which batches a network reads: whole crystals with their geometry, or pairs alone, equal sites counted once.


def view_for(model: Encoder, *, sites: bool = False) -> View:
    """The view of a store that a network's batches take.

    Args:
        model: the network; the stores of its ``edges`` give geometry where it reads one.
        sites: whether a vector of every site is wanted, so that equal ones have to be there.
    """
    if model.reads == "geometry":
        return "full"
    return "both" if sites else "merged"
