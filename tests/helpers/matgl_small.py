"""MatGL's networks as small as they can be, for tests."""

from __future__ import annotations

from typing import Any

import torch

from matgl_infomax.nn.matgl_net import MatGLNet

SMALL: dict[str, dict[str, Any]] = {
    "megnet": {},
    "m3gnet": {"nblocks": 2},
    "tensornet": {"nblocks": 1},
    "chgnet": {"num_blocks": 2, "cutoff": 5.0},
    "so3net": {"nmax": 2, "lmax": 1, "nblocks": 1},
}


def net_of(name: str, **changes: Any) -> MatGLNet:
    return MatGLNet.new(name, seed=3, options=SMALL[name], **changes).eval()


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
