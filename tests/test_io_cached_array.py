"""An array is computed once, and a damaged file is said."""

from __future__ import annotations

import numpy as np
import pytest

from matgl_infomax.errors import InputError
from matgl_infomax.io import cached_array


def test_computed_once(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return np.arange(6.0).reshape(2, 3)

    for _ in range(2):
        np.testing.assert_array_equal(cached_array(tmp_path / "deep" / "x.npy", compute), [[0, 1, 2], [3, 4, 5]])
    assert calls == [1]


def test_a_damaged_file_is_said(tmp_path):
    file = tmp_path / "x.npy"
    cached_array(file, lambda: np.arange(6.0))
    file.write_bytes(file.read_bytes()[:140])
    with pytest.raises(InputError, match=r"is damaged .* Delete it"):
        cached_array(file, lambda: np.arange(6.0))
