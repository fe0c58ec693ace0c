"""Put pretrained models into the package, with their cards and the indices of their corpora.

Run on 1 December 2026, beside the code of commit f11c691. It needs numpy, pyarrow and spglib, which each environment of
the project has, the corpora of ``corpus.py`` and the models that ``pretrain`` made of them. What the weights gave is
read from ``gains.csv`` in this folder.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from corpus import crystals_of
from tqdm import tqdm

from matgl_infomax.data.corpus_index import CORPORA, CorpusIndex
from matgl_infomax.data.elements import elemental_properties
from matgl_infomax.publish import ship
from matgl_infomax.weights import SHIPPED

HERE = Path(__file__).parent
SOURCE = (
    "Materials Project, structures of 2025 (mostly r2SCAN cells), and structures of Matbench's rows; cells with up to "
    "100 sites, each structure once"
)
LEFT_OUT = {
    "mp": "nothing: it holds crystals of Matbench's test parts",
    "mp_matbench": "each composition of the small Matbench tasks, of the fold-0 test parts of matbench_mp_e_form and "
    "matbench_mp_gap, and of the screening set",
}
LIMITS = [
    "Structures of the Materials Project: ordered, periodic, inorganic for the most part, at most 100 sites a cell.",
    "What they give was measured on few properties, with 100 labels; on yours they may give less, or nothing.",
    "The vectors know geometry and elements. Nothing about energies was learnt.",
    "One pretraining: another seed moved errors by 1 to 5 % (recipe_standard_cell).",
]


def index_of_corpus(folder: Path, name: str) -> CorpusIndex:
    """The index of a corpus, made once.

    Args:
        folder: what ``corpus.py`` wrote.
        name: of the corpus.
    """
    file = SHIPPED / CORPORA / f"{name}.npz"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        CorpusIndex.of(tqdm(crystals_of(pq.read_table(folder / f"{name}.parquet")), desc=name)).save(file)
    return CorpusIndex.load(file)


def elements_of(file: Path) -> list[str]:
    """Symbols of the elements of a corpus, by atomic number."""
    numbers = pq.read_table(file, columns=["atomic_numbers"])["atomic_numbers"].combine_chunks().flatten().unique()
    symbols = elemental_properties().symbols
    return [symbols[z] for z in sorted(numbers.to_pylist())]


def gains(name: str) -> list[dict[str, Any]]:
    """What weights gave, from ``gains.csv``; the numbers as numbers."""
    if not (HERE / "gains.csv").is_file():
        return []
    with (HERE / "gains.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["name"] == name]
    words = ("property", "unit", "source")
    whole = ("labels", "seeds")
    return [
        {key: value if key in words else int(value) if key in whole else float(value)
         for key, value in row.items() if key != "name"}
        for row in rows
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("name", help="name of the weights, such as sitenet-mp")
    parser.add_argument("model", type=Path, help="folder that pretrain wrote")
    parser.add_argument("corpora", type=Path, help="folder that corpus.py wrote")
    parser.add_argument("--corpus", choices=list(LEFT_OUT), required=True)
    parser.add_argument("--gains-of", help="name whose measurements hold for these weights too; its own when left out")
    given = parser.parse_args()
    index = index_of_corpus(given.corpora, given.corpus)
    record = json.loads((given.model / "pretrain.json").read_text())
    best = next(entry for entry in record["history"] if entry["step"] == record["best_step"])
    claim = json.loads((given.model / "run.json").read_text())["settings"]
    own_data = given.corpus == "mp"
    content = {
        "name": given.name,
        "summary": (
            "Site-Net pretrained by denoising on structures of the Materials Project, for "
            + ("data of your own." if own_data else "benchmarks: it has not seen their test crystals.")
        ),
        "network": "sitenet",
        "use": "own data" if own_data else "benchmarks",
        "weights": 169737,
        "objective": claim["objective"],
        "corpus": {
            "name": given.corpus,
            "crystals": index.crystals,
            "source": SOURCE,
            "licence": "CC-BY-4.0; Jain et al., APL Materials 1, 011002 (2013)",
            "left_out": LEFT_OUT[given.corpus],
            "elements": elements_of(given.corpora / f"{given.corpus}.parquet"),
        },
        "saw": {"structures": True, "energies": False, "forces": False, "target": False},
        "made": "2026-12-01",
        "commit": "c87d7d9",
        "command": f"matgl-infomax pretrain --data {given.corpus}.parquet --on-error skip --steps {claim['steps']} "
        f"--seed {claim['seed']} --out {given.name}",
        "seed": claim["seed"],
        "steps": claim["steps"],
        "minutes": round(record["seconds"] / 60, 1),
        "validation_loss": round(best["validation/loss"], 4),
        "site_rank": round(best["validation/site_rank"], 1),
        "crystal_rank": round(best["validation/crystal_rank"], 1),
        "licence": "CC-BY-4.0",
        "gains": gains(given.gains_of or given.name),
        "limits": LIMITS,
    }
    print(ship(given.model, content))


if __name__ == "__main__":
    main()
