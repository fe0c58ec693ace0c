"""Weights on their way out: into the package with a card, out of it into a folder for a model hub, and checked."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from matgl_infomax import weights
from matgl_infomax.api import embed
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.errors import InputError
from matgl_infomax.host import load_model
from matgl_infomax.io import atomic_write, check_sums, sha256_of, write_sums

ANSWER_TOLERANCE = 1e-5
"""Largest difference of a number in a crystal vector, from one machine and stack to another."""
README = "README.md"


def known_crystals() -> list[Crystal]:
    """Three crystals of textbooks, whose vectors are compared: rock salt, rutile and a cubic perovskite."""
    cubic, tetragonal = np.eye(3) * 5.64, np.diag([4.594, 4.594, 2.959])
    faces = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    half, u = np.array([0.5, 0, 0]), 0.305
    oxygen = [[u, u, 0], [1 - u, 1 - u, 0], [0.5 + u, 0.5 - u, 0.5], [0.5 - u, 0.5 + u, 0.5]]
    return [
        Crystal("NaCl", np.repeat([11, 17], 4), cubic, np.concatenate([faces, faces + half]) % 1),
        Crystal("TiO2", np.repeat([22, 8], [2, 4]), tetragonal, np.array([[0, 0, 0], [0.5, 0.5, 0.5], *oxygen])),
        Crystal("SrTiO3", np.array([38, 22, 8, 8, 8]), np.eye(3) * 3.905, np.array([[0.5] * 3, [0] * 3, [0.5, 0, 0],
                                                                                    [0, 0.5, 0], [0, 0, 0.5]])),
    ]  # fmt: skip


def answers(folder: Path | str) -> NDArray[np.float64]:
    """Crystal vectors of ``known_crystals``, (3, D)."""
    with tempfile.TemporaryDirectory() as cache:
        table = embed(known_crystals(), folder, cache=cache, progress=False)
    return table.drop(columns="id").to_numpy(dtype=np.float64)


def verify(name: str) -> float:
    """Open shipped weights and compare what they compute with what their card says.

    Returns:
        The largest difference of a number in the vectors of the known crystals.

    Raises:
        InputError: If a file is not the one that was shipped, or the weights compute something else.
    """
    said = weights.card(name).answers
    found = answers(name)
    if [answer.crystal for answer in said] != [crystal.id for crystal in known_crystals()]:
        raise InputError(f"The card of {name} is damaged: it names other known crystals. Install the package again.")
    off = max(
        float(np.abs(vector[: len(answer.vector)] - answer.vector).max())
        for answer, vector in zip(said, found, strict=True)
    )
    if not off <= ANSWER_TOLERANCE:
        raise InputError(
            f"The weights {name} compute something else here: their vectors differ by up to {off:.2g} from those on "
            f"their card. Report it with the versions of torch and MatGL."
        )
    return off


def ship(folder: Path, content: dict[str, Any], shipped: Path = weights.SHIPPED) -> Path:
    """Copy a pretrained model into the package, with its card.

    Args:
        folder: what ``pretrain`` wrote.
        content: the card without ``sha256`` and ``answers``, which are made here.
        shipped: folder that holds one folder for each name.

    Returns:
        The new folder.

    Raises:
        InputError: If the folder holds no sound model.
    """
    check_sums(folder, weights.MODEL)
    vectors = answers(folder)
    out = shipped / str(content["name"])
    out.mkdir(parents=True, exist_ok=True)
    for file in weights.MODEL:
        shutil.copyfile(folder / file, out / file)
    known = [
        {"crystal": crystal.id, "vector": [round(float(value), 7) for value in vector[:8]]}
        for crystal, vector in zip(known_crystals(), vectors, strict=True)
    ]
    hashes = {file: sha256_of((out / file).read_bytes()) for file in weights.MODEL}
    atomic_write(out / weights.CARD, weights.as_card({**content, "sha256": hashes, "answers": known}))
    write_sums(out, [out / file for file in (*weights.MODEL, weights.CARD)])
    return out


def publish(name: str, out: Path) -> Path:
    """Write a folder for a model hub: the model as plain MatGL opens it, and its card as a page.

    Args:
        name: name of shipped weights.
        out: new folder.

    Raises:
        InputError: If there are no such weights, or the folder holds something else already.
    """
    verify(name)
    folder = weights.folder_of(name)
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty. Name a new folder for {name}.")
    out.mkdir(parents=True, exist_ok=True)
    for file in weights.MODEL:
        shutil.copyfile(folder / file, out / file)
    atomic_write(out / README, model_page(weights.card(name)))
    write_sums(out, [out / file for file in (*weights.MODEL, README)])
    load_model(out)
    return out


def model_page(card: weights.WeightsCard) -> str:
    """The card as Markdown, with the front matter that a model hub reads."""
    front = {
        "library_name": "matgl",
        "license": card.licence.lower(),
        "tags": ["materials-science", "crystal", "self-supervised", card.network, "matgl-infomax"],
    }
    lines = [
        f"# {card.name}",
        "",
        card.summary,
        "",
        *_facts(card),
        "",
        "## Use",
        "",
        "```python",
        "import matgl, matgl_infomax.nn.sitenet",
        "",
        'model = matgl.load_model("FOLDER")',
        "```",
        "",
        f"With the package: `matgl-infomax finetune --init {card.name} ...`.",
        "",
        "## What it gave",
        "",
        *_gains(card.gains),
        "",
        "## Limits",
        "",
        *(f"- {limit}" for limit in card.limits),
        "",
        "## Made by",
        "",
        f"Commit {card.commit}, {card.made}:",
        "",
        "```",
        card.command,
        "```",
    ]
    return f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n\n" + "\n".join(lines) + "\n"


def _facts(card: weights.WeightsCard) -> list[str]:
    """The table of what the weights are and what they learnt from."""
    saw = card.saw.model_dump()
    return [
        "| | |",
        "| --- | --- |",
        f"| network | {card.network}, {card.weights:,} weights |",
        f"| objective | {card.objective} |",
        f"| for | {card.use} |",
        f"| corpus | {card.corpus.crystals:,} crystals: {card.corpus.source} |",
        f"| left out of the corpus | {card.corpus.left_out} |",
        f"| licence of the data | {card.corpus.licence} |",
        f"| licence of the weights | {card.licence} |",
        f"| training | {card.steps:,} steps, {card.minutes:.0f} minutes on one CPU core, seed {card.seed} |",
        f"| it saw | {', '.join(what for what, seen in saw.items() if seen)} |",
        f"| it did not see | {', '.join(what for what, seen in saw.items() if not seen)} |",
        f"| effective rank of the vectors | {card.site_rank:.1f} for sites, {card.crystal_rank:.1f} for crystals |",
    ]


def _gains(gains: Sequence[weights.Gain]) -> list[str]:
    """The table of what weights gave; a sentence where nothing was measured."""
    if not gains:
        return ["Nothing was measured yet."]
    return [
        "| property | labels | from scratch | with these weights | extra trees | ratio to scratch (95 %) |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
        *(
            f"| {gain.property}, {gain.unit} | {gain.labels} | {gain.scratch:.4g} | {gain.error:.4g} | "
            f"{gain.descriptors:.4g} | {gain.ratio:.3f} ({gain.low:.3f}–{gain.high:.3f}) |"
            for gain in gains
        ),
    ]
