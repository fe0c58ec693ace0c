"""The least that a training step of Site-Net must move through memory; docs/performance.md states the assumptions."""

from __future__ import annotations

from typing import Any


def floats_per_pair(shape: dict[str, Any]) -> dict[str, int]:
    """Numbers read and written per pair in forward and backward, by stage.

    Matrix products are kernels of their own; everything element by element between two of them is one kernel, and is
    computed again in the backward pass instead of being stored.

    Args:
        shape: a preset with pair_width, logit_width, value_widths (one), n_heads, n_blocks, pair_channels, update.
    """
    pair, value, heads = shape["pair_width"], shape["value_widths"][-1], shape["n_heads"]
    channels = len(shape["pair_channels"])
    found = {"pair_in forward": channels + pair, "pair_in backward": channels + pair}
    for block in range(1, shape["n_blocks"] + 1):
        # Nobody reads the pairs after the last block.
        update = pair if shape["update"] and block < shape["n_blocks"] else 0
        hidden = shape["logit_width"] + value + update
        narrow = heads + value
        found |= {
            f"block {block} product forward": pair + hidden,
            f"block {block} elements forward": hidden + narrow + update,
            f"block {block} softmax and gather forward": narrow,
            f"block {block} softmax and gather backward": 2 * narrow,
            f"block {block} elements backward": hidden + narrow + update + hidden,
            f"block {block} product backward": (hidden + pair) + (hidden + pair),
        }
    return found


INDEX_BYTES = 16
"""Receiver and neighbour of a pair, read with the elements of each block, forward and backward."""


def bytes_per_pair(shape: dict[str, Any], bytes_per_number: int = 4) -> int:
    """Bytes that a training step moves per pair, at the least."""
    numbers = sum(floats_per_pair(shape).values())
    return numbers * bytes_per_number + 2 * shape["n_blocks"] * INDEX_BYTES
