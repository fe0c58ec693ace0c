"""The maps of a representation study: which crystals, which arms, where they lie."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from matgl_infomax.io import cached_array, sha256_of
from matgl_infomax.tasks import embedding_map
from matgl_infomax.tasks.matbench.task import nested_masks
from matgl_infomax.tasks.represent_study import PRETRAINED, UNTRAINED, Representation, Vectors

if TYPE_CHECKING:
    import pandas as pd


def map_points(study: Representation, progress: bool) -> pd.DataFrame:
    """Coordinates of test crystals, of the pretrained encoder and, for comparison, of the first untrained one.

    Args:
        study: the study, its vectors computed.
        progress: show a bar.

    Returns:
        One line per arm and crystal: arm, id, target, crystal_system, element, ``pca_1``, ``pca_2`` and the same of
        the other map.
    """
    import pandas as pd

    rows = _rows(study)
    facts = embedding_map.crystal_facts([study.crystals[int(row)] for row in rows])
    facts.insert(1, "target", study.labels[rows])
    methods = ["pca", *([study.config.map] if study.config.map != "none" else [])]
    arms = [PRETRAINED, f"{UNTRAINED}-{study.config.seed}"]
    parts = []
    with tqdm(total=len(arms) * len(methods), desc="Maps", unit="map", disable=not progress) as bar:
        for arm in arms:
            part = facts.copy()
            part.insert(0, "arm", arm)
            for method in methods:
                part[[f"{method}_1", f"{method}_2"]] = _place(study, study.vectors[arm], rows, method)
                bar.update()
            parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _rows(study: Representation) -> NDArray[np.int64]:
    """The test crystals that are shown, in the order of the data: all, or as many as can be told apart."""
    test = study.parts.test
    count = min(len(test), embedding_map.MOST_POINTS)
    return np.sort(nested_masks(study.crystals.ids, test, [count], study.config.seed)[count])


def _place(study: Representation, vectors: Vectors, rows: NDArray[np.int64], method: str) -> NDArray[np.float64]:
    """Points of one arm, kept on disk: t-SNE takes up to a minute."""
    seed = study.config.seed
    known = f"{embedding_map.CODE_VERSION} {vectors.content} {study.data_hash} {method} {seed} {rows.tolist()}"
    file = study.config.cache.expanduser() / f"map-{sha256_of(known)[:24]}.npy"
    values = np.load(vectors.file, mmap_mode="r", allow_pickle=False)[vectors.lines[rows]]
    return np.asarray(cached_array(file, partial(embedding_map.project, values, method, seed)))
