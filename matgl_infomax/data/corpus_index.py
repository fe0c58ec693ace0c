"""Which formulas and structures does a corpus hold? Hashes of both, small enough to ship beside weights.

A hash has 40 bits. With a corpus of 150,000 crystals, one in seven million crystals that it does not hold is taken for
one that it holds; none that it holds is missed.
"""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matgl_infomax import weights
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.same_structure import SYMPREC_ANGSTROM
from matgl_infomax.errors import InputError
from matgl_infomax.io import atomic_write

ARRAYS = ("formulas", "structures", "counts")
HASH_BYTES = 5
CORPORA = "corpora"
"""Folder beside the shipped weights that holds the indices."""


@dataclass(frozen=True, eq=False)
class Seen:
    """Which crystals a corpus holds."""

    formula: NDArray[np.bool_]
    """Whether the corpus holds a crystal of the same reduced formula, (n,)."""
    structure: NDArray[np.bool_]
    """Whether it holds one with the same ``structure_key``, (n,)."""

    def __str__(self) -> str:
        """How many crystals, in words."""
        return f"the structure of {int(self.structure.sum())} and the formula of {int(self.formula.sum())}"


@dataclass(frozen=True, eq=False)
class CorpusIndex:
    """Hashes of the formulas and structures of a corpus."""

    formulas: NDArray[np.uint64]
    """Hashes of the reduced formulas, each once, in order."""
    structures: NDArray[np.uint64]
    """Hashes of the structure keys, each once, in order."""
    crystals: int
    """How many crystals the corpus has."""
    without_symmetry: int
    """For how many of them spglib finds no symmetry; these are known by their formula alone."""

    @classmethod
    def of(cls, crystals: Iterable[Crystal]) -> CorpusIndex:
        """Make the index of a corpus; about 2 ms a crystal.

        Args:
            crystals: the corpus.
        """
        formulas, structures = set(), set()
        n = without = 0
        for crystal in crystals:
            key = structure_key(crystal)
            formulas.add(_hash(key.partition(" ")[0]))
            structures.add(_hash(key))
            without += key.endswith("?")
            n += 1
        return cls(_ordered(formulas), _ordered(structures), n, without)

    def save(self, file: Path) -> None:
        """Write the index; the gaps between ordered hashes are small, so they compress to half.

        Raises:
            InputError: If the file cannot be written.
        """
        content = io.BytesIO()
        gaps = {name: np.diff(getattr(self, name), prepend=np.uint64(0)) for name in ARRAYS[:2]}
        np.savez_compressed(content, **gaps, counts=np.array([self.crystals, self.without_symmetry]))
        atomic_write(file, content.getvalue())

    @classmethod
    def load(cls, file: Path) -> CorpusIndex:
        """Read an index.

        Raises:
            InputError: If there is none, or it is damaged.
        """
        try:
            with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
                formulas, structures, counts = (arrays[name] for name in ARRAYS)
            crystals, without = (int(count) for count in counts)
            ordered = [np.cumsum(gaps, dtype=np.uint64) for gaps in (formulas, structures)]
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
            raise InputError(
                f"Cannot read the index of a corpus in {file}: {error}. Make or install it again."
            ) from error
        return cls(ordered[0], ordered[1], crystals, without)

    def seen(self, crystals: Sequence[Crystal]) -> Seen:
        """Which crystals the corpus holds.

        Args:
            crystals: n crystals; their labels play no part.
        """
        keys = [structure_key(crystal) for crystal in crystals]
        formula = np.array([_hash(key.partition(" ")[0]) for key in keys], dtype=np.uint64)
        structure = np.array([_hash(key) for key in keys], dtype=np.uint64)
        return Seen(np.isin(formula, self.formulas), np.isin(structure, self.structures))


def _hash(text: str) -> int:
    """40 bits of a text."""
    return int.from_bytes(blake2b(text.encode(), digest_size=HASH_BYTES).digest(), "little")


def _ordered(hashes: set[int]) -> NDArray[np.uint64]:
    """Hashes in order, (n,)."""
    return np.array(sorted(hashes), dtype=np.uint64)


def index_of(folder: Path) -> CorpusIndex | None:
    """The index of the corpus that shipped weights were pretrained on; None for any other folder.

    Args:
        folder: folder of weights, or their name.

    Raises:
        InputError: If the index is missing or damaged.
    """
    name = weights.shipped_name(weights.folder_of(folder))
    if name is None:
        return None
    return CorpusIndex.load(weights.SHIPPED / CORPORA / f"{weights.card(name).corpus.name}.npz")


def structure_key(crystal: Crystal) -> str:
    """A text that names the structure: formula, space group, sites of the primitive cell and its orbits.

    It is the same for every choice of cell, origin and order of the sites, and after small relaxations. Two crystals
    that share it may still differ in free parameters, such as a layer distance.

    Returns:
        The key; the reduced formula with a ``?`` where spglib finds no symmetry at 0.1 angstrom.
    """
    import spglib

    cell: Any = (crystal.lattice, crystal.frac, crystal.numbers)
    found = spglib.get_symmetry_dataset(cell, symprec=SYMPREC_ANGSTROM)
    if found is None:
        return f"{crystal.reduced_formula} ?"
    n_primitive = len(np.unique(found.mapping_to_primitive))
    copies = crystal.n_sites // n_primitive
    sizes = Counter(found.crystallographic_orbits.tolist())  # sites per orbit, in the cell as it is written
    orbits = Counter((int(crystal.numbers[site]), size // copies) for site, size in sizes.items())
    listed = " ".join(f"{z}:{size}x{times}" for (z, size), times in sorted(orbits.items()))
    return f"{crystal.reduced_formula} {found.number} {n_primitive} {listed}"
