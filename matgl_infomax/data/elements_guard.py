"""Does a network know the elements of the data? Asked before anything is trained, embedded or predicted."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from matgl_infomax.data.elements import elemental_properties
from matgl_infomax.errors import InputError

Network = TypeVar("Network", bound=nn.Module)

NOISE = 0.1
"""Noise on the vector of a new element, in standard deviations of the known ones."""


def unknown_elements(elements: Iterable[int], element_types: Sequence[str]) -> list[str]:
    """Symbols of the elements that a network does not know, by atomic number.

    Args:
        elements: atomic numbers in the data, in any order, repeats allowed.
        element_types: elements that the network knows.

    Raises:
        InputError: For a number that is not that of an element.
    """
    symbols, known = elemental_properties().symbols, set(element_types)
    wanted = sorted({int(z) for z in elements})
    strange = [z for z in wanted if not 1 <= z < len(symbols)]
    if strange:
        raise InputError(f"Atomic numbers go from 1 to {len(symbols) - 1}. Received: {strange}. Check the crystals.")
    return [symbols[z] for z in wanted if symbols[z] not in known]


def check_elements(elements: Iterable[int], element_types: Sequence[str], what: str, remedy: str = "") -> None:
    """Refuse data with elements that a network was not made for.

    Args:
        elements: atomic numbers in the data, in any order, repeats allowed.
        element_types: elements that the network knows.
        what: the network in words, such as its folder.
        remedy: what to do about it beside leaving crystals out, a sentence.

    Raises:
        InputError: If there are such elements; they are named.
    """
    unknown = unknown_elements(elements, element_types)
    if unknown:
        raise InputError(
            f"The crystals hold {', '.join(unknown)}, but {what} knows {len(element_types)} elements, "
            f"these not among them. Leave such crystals out{f', or {remedy}' if remedy else ''}."
        )


def check_order(ours: Sequence[str], theirs: Sequence[str], what: str) -> None:
    """Refuse a converter, or another network, that numbers the elements otherwise: it would mix them up silently.

    Args:
        ours: elements of the network, in its order.
        theirs: elements of the other, in its order.
        what: the other in words.

    Raises:
        InputError: If set or order differ; the first difference is named.
    """
    for place, (own, other) in enumerate(zip(ours, theirs, strict=False)):
        if own != other:
            raise InputError(
                f"{what} numbers the elements otherwise: {place} is {other}, for the network it is {own}. "
                "Make it with element_types of the network."
            )
    if len(ours) != len(theirs):
        raise InputError(
            f"{what} knows {len(theirs)} elements, the network {len(ours)}. Make it with element_types of the network."
        )


def knowing(net: Network, elements: Iterable[int], extend: bool, what: str, seed: int = 0) -> Network:
    """The network itself where it knows all elements of the data; else one that was extended, if that is allowed.

    Args:
        net: a network with its weights.
        elements: atomic numbers in the data.
        extend: whether rows may be added for new elements (``--extend-elements``).
        what: the network in words.
        seed: seed of the new rows.

    Raises:
        InputError: If there are unknown elements and no permission.
    """
    types: tuple[str, ...] = net.element_types  # type: ignore[assignment]
    elements = list(elements)
    if not extend:
        check_elements(elements, types, what, "give --extend-elements to add vectors for them")
        return net
    unknown = unknown_elements(elements, types)
    if not unknown:
        return net
    say(f"{what} did not know {', '.join(unknown)}: it got vectors for them, near the mean of those it has.")
    return extend_elements(net, unknown, seed)


def extend_elements(net: Network, symbols: Sequence[str], seed: int = 0) -> Network:
    """A copy of a network that knows more elements, with all the weights it had.

    The vector of a new element is the mean of the known ones with a little noise: without it two new elements would
    be one. The order of the known elements stays.

    Args:
        net: a network made with ``element_types`` among its ``init_args``; left as it is.
        symbols: new elements, put after the known ones.
        seed: seed of the noise.

    Raises:
        InputError: If an element is known already.
    """
    known: tuple[str, ...] = tuple(net.element_types)  # type: ignore[arg-type]
    arguments: dict[str, Any] = net.init_args  # type: ignore[assignment]
    twice = sorted({s for s in symbols if s in known or list(symbols).count(s) > 1})
    if twice:
        raise InputError(f"Only new elements can be added, once each. Received: {', '.join(twice)}.")
    with torch.random.fork_rng(devices=[]):  # its initial weights are all replaced
        larger = type(net)(**{**arguments, "element_types": (*known, *symbols)})
    generator = torch.Generator().manual_seed(seed)
    weights = larger.state_dict()
    for name, value in net.state_dict().items():
        new = weights[name]
        grown = value.shape != new.shape
        weights[name] = _with_rows(value, len(symbols), generator) if grown else value
        if weights[name].shape != new.shape:
            raise InputError(f"A {type(net).__name__} cannot get new elements: the shape of {name} depends on them.")
    larger.load_state_dict(weights)
    parameter = next(net.parameters())
    larger.train(net.training)
    return larger.to(parameter.device, parameter.dtype)


def _with_rows(value: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """A table of vectors (K, D) with n more of them, (K + n, D)."""
    noise = torch.randn(n, *value.shape[1:], generator=generator, dtype=torch.float64).to(value)
    return torch.cat([value, value.mean(0) + NOISE * value.std(0, correction=0) * noise])


def say(sentence: str) -> None:
    """Tell the user something that is no mistake, where it does not get into tables or pipes."""
    sys.stderr.write(f"matgl-infomax: {sentence}\n")
