"""Site-Net's published shapes, and the elements it knows."""

from __future__ import annotations

from typing import Any

# fmt: off
ELEMENTS: tuple[str, ...] = (
    "H", "He", "Li", "Be", "B", "C", "N", "O", "F", "Ne", "Na", "Mg", "Al", "Si", "P", "S", "Cl", "Ar",
    "K", "Ca", "Sc", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Ga", "Ge", "As", "Se", "Br", "Kr",
    "Rb", "Sr", "Y", "Zr", "Nb", "Mo", "Tc", "Ru", "Rh", "Pd", "Ag", "Cd", "In", "Sn", "Sb", "Te", "I", "Xe",
    "Cs", "Ba", "La", "Ce", "Pr", "Nd", "Pm", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er", "Tm", "Yb", "Lu",
    "Hf", "Ta", "W", "Re", "Os", "Ir", "Pt", "Au", "Hg", "Tl", "Pb", "Bi", "Po", "At", "Rn",
    "Fr", "Ra", "Ac", "Th", "Pa", "U", "Np", "Pu", "Am", "Cm", "Bk", "Cf", "Es", "Fm", "Md", "No", "Lr",
)
# fmt: on
"""Hydrogen to lawrencium: the elements with tabulated properties."""

PRESETS: dict[str, dict[str, Any]] = {
    # Deep InfoMax on Site-Net, 2025: 55,777 weights, 60,002 with the head. The local part ran with ReLU because its
    # configuration named the activation under another key; it is kept, and is also three times faster than Mish.
    "compact": {},
    # Site-Net with what network and descriptors were found to need with few labels (leaderboard/results): more
    # properties of the elements, a basis of distances, residual blocks, and the spread of the sites beside their mean.
    "rich": {
        "property_scale": "standard",
        "pair_channels": ("distance", "gaussians"),
        "n_heads": 4,
        "n_blocks": 2,
        "value_widths": (32,),
        "update": True,
        "residual": True,
        "site_vector_width": 64,
        "before_pool_widths": (128,),
        "pooling": "mean_spread",
        "after_pool_widths": (128,),
        "crystal_vector_width": 128,
        "head_widths": (128,),
    },
    # Site-Net, 2023: 304,085 weights, 11,088 of them in a last pair update that nobody reads.
    "published": {
        "embedding_width": 92,
        "property_scale": "raw",
        "pair_channels": ("distance", "log_coulomb"),
        "site_width": 90,
        "pair_width": 48,
        "n_heads": 3,
        "n_blocks": 2,
        "logit_width": 225,
        "value_widths": (30,),
        "update": True,
        "site_vector_width": 0,
        "before_pool_widths": (94,),
        "after_pool_widths": (200, 200, 200),
        "crystal_vector_width": 0,
        "head_widths": (),
        "local_activation": "mish",
    },
}
