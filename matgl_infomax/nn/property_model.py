"""What every network that predicts properties shares: the way from a crystal vector to a number with a unit."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from matgl_infomax import host
from matgl_infomax.data.batch import SiteBatch
from matgl_infomax.data.elements import check_order
from matgl_infomax.errors import InputError
from matgl_infomax.io import write_sums
from matgl_infomax.nn.layers import Head, TransparentReLU, physical
from matgl_infomax.weights import existing_folder_of


@dataclass(frozen=True)
class Encoding:
    """What an encoder makes of a batch."""

    site: Tensor  # (N, D)   one vector per site
    crystal: Tensor  # (B, C)   one vector per crystal


class PropertyModel(host.MatGLModel):
    """An encoder with a head and a label normaliser, usable wherever MatGL takes a property model."""

    reads: ClassVar[Literal["distances", "geometry"]]
    """What it needs of a crystal: how far sites are apart, or where they are."""
    element_types: tuple[str, ...]
    n_targets: int
    output: str
    head: Head
    target_mean: Tensor
    target_std: Tensor
    numbers_of_type: Tensor

    @classmethod
    def from_pretrained(cls, name: Path | str) -> Self:  # type: ignore[override]  # MatGL's one asks a hub
        """The network with weights that come with the package, or with those of a folder; nothing is downloaded.

        Args:
            name: such as ``sitenet-mp`` (``matgl_infomax.weights.available()`` lists all), or a folder.

        Raises:
            InputError: If there are no such weights, they are damaged, or they are those of another network.
        """
        model = host.load_model(existing_folder_of(name))
        if not isinstance(model, cls):
            raise InputError(f"{name} holds weights of {type(model).__name__}. Received them for {cls.__name__}.")
        return model

    @property
    def wrong_forces(self) -> str | None:
        """Why gradients with respect to positions are not those of its energies; none where they are."""
        return None

    @abstractmethod
    def encode(self, batch: SiteBatch) -> Encoding:
        """One vector per site and one per crystal."""

    @abstractmethod
    def converter(self) -> Any:
        """The graph converter whose graphs this network reads."""

    def scaled(self, crystal: Tensor) -> Tensor:
        """Predictions from crystal vectors (B, C) in units of the label normaliser, (B, T)."""
        prediction = self.head(crystal)
        if self.output == "transparent_relu":
            # The zero of the physical property, in units of the normaliser.
            zero = self.target_mean / self.target_std
            prediction = TransparentReLU.apply(prediction + zero) - zero
        return prediction

    def forward(self, g: Any, state_attr: Tensor | None = None, **_: Any) -> Tensor:  # noqa: ARG002 - as MatGL
        """Predict from a batch, a ``DGLGraph`` or PyG ``Data``.

        Args:
            g: crystals; a graph as made by ``converter()``.
            state_attr: accepted for MatGL's trainers; there is no state here.
            **_: further arguments of MatGL's trainers.

        Returns:
            (B,) for one target, (B, T) for several: in physical units once fine-tuned, of a classifier probabilities.
        """
        batch = host.graph_to_batch(g, self.numbers_of_type, geometry=self.reads == "geometry")
        batch = batch.to(batch.distance.device, self.target_mean.dtype)
        scaled = self.scaled(self.encode(batch).crystal)  # (B, T)
        out = physical(scaled, self.target_mean, self.target_std, self.output)  # (B, T)
        return out.squeeze(1) if self.n_targets == 1 else out

    def save(self, path: Path | str = ".", metadata: dict[str, Any] | None = None, makedirs: bool = True) -> None:
        """Write the model as MatGL does, and the hashes of its files beside them.

        Args:
            path: folder of the model.
            metadata: free facts for ``model.json``.
            makedirs: make the folder if absent.

        Raises:
            InputError: If the hashes cannot be written.
        """
        super().save(path, metadata=metadata, makedirs=makedirs)
        write_sums(Path(path), [Path(path) / name for name in host.MODEL_FILES])

    def predict_structure(
        self,
        structure: Any,
        state_feats: Tensor | None = None,  # noqa: ARG002 - as MatGL
        graph_converter: Any = None,
    ) -> Tensor:
        """Predict one pymatgen ``Structure``.

        Args:
            structure: an ordered crystal.
            state_feats: accepted as in MatGL's models; unused.
            graph_converter: converter to use instead of this model's own.

        Returns:
            A scalar for one target, (T,) for several.
        """
        converter = graph_converter or self.converter()
        check_order(self.element_types, getattr(converter, "element_types", self.element_types), "The converter")
        graph, lattice, _ = converter.get_graph(structure)
        graph = host.with_positions(graph, lattice)
        training = self.training
        self.eval()
        try:
            with torch.no_grad():
                return self(graph).detach().squeeze(0)
        finally:
            self.train(training)
