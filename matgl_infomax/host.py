"""The door to MatGL: no other file imports matgl, dgl or torch_geometric, and the backend is chosen here before."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from matgl_infomax import io
from matgl_infomax.console import say
from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.data.radius import radius_pairs
from matgl_infomax.data.supercell import Pairs, SupercellRule, crystal_pairs, primitive_cell
from matgl_infomax.errors import InputError
from matgl_infomax.graphs import atomic_numbers as atomic_numbers
from matgl_infomax.graphs import checked_crystal
from matgl_infomax.graphs import graph_to_batch as graph_to_batch
from matgl_infomax.graphs import with_positions as with_positions

if TYPE_CHECKING:
    from pymatgen.core import Structure


MATGL_VERSION: str = version("matgl")
MODEL_FILES = ("model.json", "model.pt", "state.pt")
UNREAD = (".emb3.weight", ".emb3.bias", ".onehot")
"""Ends of names that not all releases save, since no prediction depends on them."""


def _dgl_problem() -> str | None:
    """Why DGL cannot be imported, None when it can."""
    # Else DGL prints a line at import and writes a settings file to the home folder.
    os.environ.setdefault("DGLBACKEND", "pytorch")
    if importlib.util.find_spec("dgl") is None:
        return "dgl is not installed"
    try:
        importlib.import_module("dgl")
    except (ImportError, OSError, AttributeError, RuntimeError) as error:
        # DGL 2 fails beside a current torch: worth a word even where DGL was only the default.
        warnings.warn(f"dgl is installed but does not import: {error}", stacklevel=2)
        return f"dgl does not import ({error})"
    return None


def _start_matgl() -> Backend:
    """Import MatGL with the chosen backend; a MatGL that runs already keeps its own."""
    check_version(MATGL_VERSION)
    if "matgl" in sys.modules:
        backend: Backend = getattr(importlib.import_module("matgl.config"), "BACKEND", "PYG")
    else:
        backend = choose_backend(os.environ.get("MATGL_BACKEND"), MATGL_VERSION, _dgl_problem)
    # Worker processes must make the same choice.
    os.environ["MATGL_BACKEND"] = backend
    try:
        importlib.import_module("matgl.models")
    except (OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "home directory" not in str(error):
            raise
        raise InputError(
            f"MatGL could not start: {str(error).rstrip('.')}. It needs a home folder that it can write to."
        ) from error
    return backend


# The choice between MatGL's two kinds of graph, made before MatGL is imported.

Backend = Literal["DGL", "PYG"]
OLDEST = (3, 0, 2)
"""Before this release the usual read-out of M3GNet, TensorNet and SO3Net added up over sites: twice the cell gave twice
the vector."""


def check_version(found: str) -> None:
    """Refuse a MatGL whose vectors depend on the size of the cell.

    Raises:
        InputError: For a release before 3.0.2.
    """
    numbers = tuple(int(number) for number in re.findall(r"\d+", found)[:3])
    if numbers < OLDEST:
        raise InputError(f"MatGL {found} gives vectors that depend on the size of the cell. Install 'matgl>=3.0.5'.")


def choose_backend(
    wanted: str | None,
    matgl_version: str,
    dgl_problem: Callable[[], str | None],
    python: tuple[int, int] = sys.version_info[:2],
) -> Backend:
    """Which kind of graph MatGL shall use: the one asked for, else DGL wherever it works.

    Args:
        wanted: value of MATGL_BACKEND, None when unset.
        matgl_version: installed version of MatGL; from 4 on it knows PyG only.
        dgl_problem: tells why DGL cannot be used, None when it can.
        python: version of Python; DGL 1.1.3 has no release for 3.12 and later.

    Raises:
        InputError: For an unknown name, when DGL is asked for and cannot be used, or when MatGL 3 stands on a Python
            that has no DGL and PyG was not asked for.
    """
    name = wanted.strip().upper() if wanted else None
    if name not in (None, "DGL", "PYG"):
        raise InputError(f"MATGL_BACKEND must be DGL or PYG. Received: {wanted!r}. Correct it, or unset it.")
    if int(matgl_version.split(".")[0]) >= 4:
        if name == "DGL":
            raise InputError(
                f"MATGL_BACKEND=DGL, but MatGL {matgl_version} knows only PyG. "
                "Unset MATGL_BACKEND, or install 'matgl>=3.0.5,<4' with dgl==1.1.3 (Python 3.11)."
            )
        return "PYG"
    if name == "PYG":
        return "PYG"
    problem = dgl_problem()
    if problem and name == "DGL":
        raise InputError(
            f"MATGL_BACKEND=DGL, but {problem}. Install dgl==1.1.3 (Python 3.11), or set MATGL_BACKEND=PYG."
        )
    if problem and python >= (3, 12):
        raise InputError(
            f"MatGL {matgl_version} is for DGL, but {problem}: DGL 1.1.3 has no release for Python "
            f"{python[0]}.{python[1]}, the last is for 3.11. Install 'matgl-infomax[pyg]' with 'matgl>=4', "
            "use Python 3.11, or set MATGL_BACKEND=PYG."
        )
    return "PYG" if problem else "DGL"


with warnings.catch_warnings():
    # MatGL 3 announces the end of DGL, and DGL scripts functions with torch.jit: nothing a user here can act on.
    warnings.simplefilter("ignore", DeprecationWarning)
    BACKEND: Backend = _start_matgl()
    import matgl
    from matgl.apps.pes import Potential
    from matgl.graph.converters import GraphConverter
    from matgl.models import MatGLModel

    if BACKEND == "DGL":
        import dgl
    else:
        from torch_geometric.data import Batch, Data


def batch_to_graph(batch: SiteBatch, element_types: Sequence[str]) -> Any:
    """The graph of MatGL's kind that shows the same sites and pairs, ready for any MatGL model.

    Args:
        batch: a batch with geometry.
        element_types: elements in the order of the model's node types.

    Raises:
        InputError: For a batch without geometry, or an element that is not among ``element_types``.
    """
    if batch.frac is None or batch.lattice is None or batch.offset is None:
        raise InputError("A graph needs positions, and this batch has none. Make the batch with geometry=True.")
    kind_of_number = torch.full((119,), -1)
    kind_of_number[atomic_numbers(element_types)] = torch.arange(len(element_types))
    kind = kind_of_number.to(batch.number.device)[batch.number]  # (N,)
    if bool((kind < 0).any()):
        from pymatgen.core import Element

        strange = ", ".join(Element.from_Z(z).symbol for z in batch.number[kind < 0].unique().tolist())
        raise InputError(f"The batch holds elements that are not among element_types: {strange}.")
    src, dst = batch.src.to(matgl.int_th), batch.dst.to(matgl.int_th)
    if BACKEND == "DGL":
        graph = dgl.graph((src, dst), num_nodes=batch.n_sites)
        graph.set_batch_num_nodes(batch.size)
        graph.set_batch_num_edges(torch.bincount(batch.owner[batch.src], minlength=batch.n_crystals))
        nodes, edges = graph.ndata, graph.edata
        kind = kind.to(matgl.int_th)
    else:
        start = torch.cat([batch.size.new_zeros(1), batch.size.cumsum(0)])  # (B + 1,)
        graph = Batch(num_nodes=batch.n_sites, edge_index=torch.stack([src, dst]), batch=batch.owner, ptr=start)
        nodes = edges = graph
    nodes["node_type"] = kind
    nodes["frac_coords"] = batch.frac
    edges["pbc_offset"] = batch.offset
    return with_positions(graph, batch.lattice)


class _Converter(GraphConverter):
    """What the converters here share: they check a structure, pair its sites, and build the graph without detours."""

    def __init__(self, element_types: Sequence[str]) -> None:
        self.element_types = tuple(element_types)
        numbers = atomic_numbers(self.element_types)
        self._numbers = frozenset(numbers)
        self._kind = np.full(119, -1)  # node type of each atomic number
        self._kind[numbers] = np.arange(len(numbers))

    def get_graph(self, structure: Structure) -> tuple[Any, Tensor, Any]:
        """Graph, lattice (1, 3, 3) in angstrom and the two zeros of MatGL's state, as MatGL's own converters give.

        Raises:
            InputError: For a molecule, partial occupancies, or an element the model does not know.
        """
        crystal = self._crystal(structure)
        pairs = self._pairs(crystal)
        # Cast by numpy, which starts quicker than torch on arrays as small as these.
        kind = torch.from_numpy(self._kind[crystal.numbers])
        src, dst = pairs.src.astype(matgl.int_np, copy=False), pairs.dst.astype(matgl.int_np, copy=False)
        frac = torch.from_numpy(crystal.frac.astype(matgl.float_np))
        offset = torch.from_numpy(pairs.offset.astype(matgl.float_np))
        if BACKEND == "DGL":
            # What dgl.graph does, without its search for the largest site: a tenth of the conversion.
            ends, n = (torch.from_numpy(src), torch.from_numpy(dst)), crystal.n_sites
            graph = dgl.convert.create_from_edges("coo", ends, "_N", "_E", "_N", n, n)
            graph.ndata["node_type"], graph.ndata["frac_coords"] = kind.to(matgl.int_th), frac
            graph.edata["pbc_offset"] = offset
        else:
            graph = Data(num_nodes=crystal.n_sites, edge_index=torch.from_numpy(np.array([src, dst])))
            graph.pbc_offset = offset
            graph.node_type = kind
            graph.frac_coords = frac
        lattice = torch.from_numpy(crystal.lattice[None].astype(matgl.float_np))
        return graph, lattice, np.zeros(2, dtype=matgl.float_np)

    def _crystal(self, structure: Structure) -> Crystal:
        """The cell whose sites are the nodes."""
        return checked_crystal(structure, self._numbers)

    def _pairs(self, crystal: Crystal) -> Pairs:
        """The edges."""
        raise NotImplementedError


class SupercellConverter(_Converter):
    """MatGL graph converter: each unique site is joined to every site of a near-cubic supercell.

    Wherever MatGL takes a ``Structure2Graph`` it takes this too. One exception: on DGL, MatGL's ``MGLDataset`` reads
    positions from the structure it was given, so with ``primitive`` give it ``converter.reduced(structure)``.

    Args:
        element_types: elements in the order of the model's node types.
        max_atoms: limit of the supercell.
        primitive: reduce crystals to their primitive cell first.
        standard_cell: build the supercell on the Niggli-reduced vectors.
    """

    def __init__(
        self, element_types: Sequence[str], max_atoms: int = 50, primitive: bool = True, standard_cell: bool = False
    ) -> None:
        super().__init__(element_types)
        self.max_atoms, self.primitive, self.standard_cell = max_atoms, primitive, standard_cell

    def reduced(self, structure: Structure) -> Structure:
        """The cell whose sites are the nodes of the graph: the structure's own, or its primitive one."""
        return self._crystal(structure).to_structure()

    def _crystal(self, structure: Structure) -> Crystal:
        crystal = super()._crystal(structure)
        return primitive_cell(crystal) if self.primitive else crystal

    def _pairs(self, crystal: Crystal) -> Pairs:
        return crystal_pairs(crystal, SupercellRule(self.max_atoms, self.primitive, standard=self.standard_cell))


class RadiusConverter(_Converter):
    """MatGL graph converter: each site is joined to all its neighbours within a cut-off.

    Takes the place of MatGL's ``Structure2Graph``: the same graphs in less time, edges sorted by receiver.

    Args:
        element_types: elements in the order of the model's node types.
        cutoff: largest distance, angstrom.
    """

    def __init__(self, element_types: Sequence[str], cutoff: float = 5.0) -> None:
        super().__init__(element_types)
        self.cutoff = cutoff

    def _pairs(self, crystal: Crystal) -> Pairs:
        return radius_pairs(crystal.lattice, crystal.frac, self.cutoff)


@contextmanager
def precision(dtype: torch.dtype) -> Iterator[None]:
    """Let MatGL calculate in this precision for a while: some layers of MatGL 3 look it up, whatever their input is."""
    before, matgl.float_th = matgl.float_th, dtype
    try:
        yield
    finally:
        matgl.float_th = before


def native_class(name: str) -> type[MatGLModel]:
    """A class of ``matgl.models`` by its name."""
    found: type[MatGLModel] = getattr(importlib.import_module("matgl.models"), name)
    return found


def inner_network(model: nn.Module) -> nn.Module:
    """The network that a potential asks for energies; any other model is its own network."""
    return model.model if isinstance(model, Potential) else model


def load_exactly(network: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Give a network weights that were saved, all of them and no others.

    Args:
        network: gets the weights.
        state: weights by name.
        what: where they come from, for the message.

    Raises:
        InputError: If a weight is missing or left over, with their names, or has another shape.
    """
    _check_names(network, state, what)
    try:
        network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise InputError(f"The weights of {what} do not fit {type(network).__name__}: {error}") from error


def _check_names(network: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Whether a saved state holds all weights of a network and no others; raise an error with the names if not."""
    own, saved = network.state_dict().keys(), state.keys()
    lacking, extra = ([k for k in sorted(names) if not k.endswith(UNREAD)] for names in (own - saved, saved - own))
    if lacking or extra:
        raise InputError(
            f"The weights of {what} do not fit {type(network).__name__}. "
            f"Missing: {', '.join(lacking) or 'none'}. Unexpected: {', '.join(extra) or 'none'}."
        )


@cache  # one folder is told of once
def _say_unchecked(folder: str) -> None:
    """Tell of weights that nothing vouches for."""
    say(
        f"{folder} holds no {io.SUMS}: MatGL or an earlier version wrote it, and damage to its weights would not be "
        f"noticed. Where they are known to be right, `sha256sum {' '.join(MODEL_FILES)} > {io.SUMS}` there helps."
    )


def load_model(path: str | Path) -> MatGLModel | Potential:
    """Read back a model or potential written by its ``save``, without running anything that strangers put into it.

    MatGL 3 unpickles freely and keeps random weights where the file has none; both are refused here, before or
    after ``matgl.load_model`` does the work. Nothing is looked up on the network. Files that are not those of the
    folder's ``SHA256SUMS`` are refused; a folder without one, as MatGL writes it, is told on stderr.

    Raises:
        InputError: For a missing folder or file, a damaged or unsafe file, weights that do not fit the model, or those
            of an older version of the network, unless ``old_weights_allowed``.
    """
    folder = Path(path)
    missing = [name for name in MODEL_FILES if not (folder / name).is_file()]
    if missing:
        raise InputError(f"{folder} holds no saved model: {', '.join(missing)} missing. Give the folder save() wrote.")
    if not io.check_sums(folder, MODEL_FILES):
        _say_unchecked(str(folder))
    card, arguments = io.read_json(folder / "model.json"), io.read_tensors(folder / "model.pt")
    state = io.read_tensors(folder / "state.pt")
    # MatGL calls whatever such an entry names, even a function of the operating system.
    for entry in (card, *(value for value in arguments.values() if isinstance(value, dict) and "@class" in value)):
        kind = io.check_class(entry, (MatGLModel, Potential), ("matgl", "matgl_infomax"), folder)
        _refuse_old(entry, kind, folder)
    try:
        model = cast(MatGLModel | Potential, matgl.load_model(folder))
    except (ValueError, RuntimeError) as error:
        if isinstance(error.__cause__, KeyboardInterrupt):
            raise error.__cause__ from None
        raise InputError(f"MatGL cannot load {folder}: {error.__cause__ or error}") from error
    _check_names(model, state, str(folder))
    return model


OLD_WEIGHTS = "MATGL_INFOMAX_OLD_WEIGHTS"
"""Environment variable that processes started for a command inherit; set within ``old_weights_allowed``."""


@contextmanager
def old_weights_allowed() -> Iterator[None]:
    """Within the block, ``load_model`` opens weights of an older version of a network, with a line on stderr."""
    before = os.environ.get(OLD_WEIGHTS)
    os.environ[OLD_WEIGHTS] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[OLD_WEIGHTS]
        else:
            os.environ[OLD_WEIGHTS] = before


def _refuse_old(entry: Mapping[str, Any], kind: type, folder: Path) -> None:
    """Refuse a saved class whose version is below that of the installed one; MatGL itself only warns.

    Args:
        entry: dictionary with "@class" and "@model_version".
        kind: the installed class.
        folder: where the model lies, for the message.
    """
    found, current = entry.get("@model_version", 0), getattr(kind, "__version__", 0)
    if isinstance(found, int) and found >= current:
        return
    what = f"{folder} holds weights of {kind.__name__} version {found}, and MatGL {MATGL_VERSION} has version {current}"
    if os.environ.get(OLD_WEIGHTS) != "1":
        raise InputError(
            f"{what}: they would compute something else here. Take weights of this version, or open them with the "
            "MatGL that wrote them. --allow-old-weights opens them all the same."
        )
    say(f"{what}: it may compute something else than where they were made.")
