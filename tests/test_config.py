"""Scripts that name the settings at their old address still run, and get the very same classes."""

from __future__ import annotations

import matgl_infomax.config as old
from matgl_infomax.settings import base, training


def test_the_old_address_leads_to_the_same_classes():
    assert {"FinetuneSettings", "ModelSettings", "PretrainSettings"} <= set(old.__all__)
    for name in old.__all__:
        new = getattr(training, name, None) or getattr(base, name)
        assert getattr(old, name) is new
