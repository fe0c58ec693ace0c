"""One fit sees its mask and nothing else, is scaled alike for every arm, and survives what descriptors do."""

from __future__ import annotations

import numpy as np
import pytest

from matgl_infomax.errors import InputError
from matgl_infomax.tasks.studies.arms import LIMIT, HeadFit, HeadJob, fit_head, new_head


def problem(n: int = 60, width: int = 5, seed: int = 0):
    """Vectors, and labels that are a linear function of them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, width))
    return x, x @ np.arange(1.0, width + 1) + 7.0


def job(tmp_path, values: np.ndarray, y: np.ndarray, head: str = "ridge", scaling: str = "standard") -> HeadJob:
    np.save(tmp_path / "x.npy", values)
    n = len(y)
    return HeadJob(HeadFit("a", head, scaling, n, 3), tmp_path / "x.npy", np.arange(n), y, np.arange(n, len(values)))


@pytest.mark.parametrize("head", ["linear", "ridge", "mlp", "forest"])
def test_every_head_learns_and_repeats_bit_for_bit(tmp_path, head):
    x, y = problem()
    one, again = (fit_head(job(tmp_path, x, y[:40], head)) for _ in range(2))
    np.testing.assert_array_equal(one.prediction, again.prediction)
    assert one.prediction.shape == (20,)
    error = np.abs(one.prediction - y[40:]).mean()
    assert error < (0.01 if head in ("linear", "ridge") else 0.7 * np.abs(y[40:] - np.median(y[:40])).mean())
    assert one.seconds > 0 and one.fit.head == head


@pytest.mark.parametrize("head", ["linear", "ridge", "mlp", "forest"])
def test_units_of_labels_and_vectors_do_not_matter(tmp_path, head):
    """The published code scaled one arm and not the others; here no arm gains by the size of its numbers."""
    x, y = problem()
    plain = fit_head(job(tmp_path, x, y[:40], head)).prediction
    large = fit_head(job(tmp_path, x * 1024 + 512, y[:40] * 1024, head)).prediction  # exact in binary
    np.testing.assert_allclose(large / 1024, plain, rtol=1e-4, atol=1e-4)


def test_unscaled_is_unscaled(tmp_path):
    x, y = problem()
    small = x * [1e-3, 1, 1, 1, 1]
    predictions = [
        fit_head(job(tmp_path, values, y[:40], "mlp", scaling)).prediction
        for values in (x, small)
        for scaling in ("standard", "none")
    ]
    np.testing.assert_allclose(predictions[0], predictions[2], rtol=1e-4, atol=1e-4)
    assert np.abs(predictions[1] - predictions[3]).mean() > 0.1


def test_a_feature_that_hardly_moves_over_the_mask_cannot_explode(tmp_path):
    x, y = problem()
    tail = np.random.default_rng(1).uniform(size=(60, 1)) * 1e-30  # the far tail of a diffraction peak
    tail[40:] = 0.05
    values = np.hstack([x, tail])
    scaled, raw = (fit_head(job(tmp_path, values, y[:40], "linear", s)).prediction for s in ("standard", "none"))
    assert np.abs(scaled - y[40:]).mean() < LIMIT
    assert np.isfinite(raw).all()


def test_vectors_that_failed_count_as_the_mean_of_the_mask(tmp_path):
    x, y = problem()
    broken = x.copy()
    broken[3], broken[45] = np.nan, np.nan
    mean = np.delete(x[:40], 3, axis=0).mean(axis=0)
    filled = x.copy()
    filled[3] = filled[45] = mean
    for head in ("linear", "forest"):
        found, expected = (fit_head(job(tmp_path, v, y[:40], head)).prediction for v in (broken, filled))
        assert len(found) == 20  # no test crystal is dropped
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_all_vectors_of_a_mask_may_fail(tmp_path):
    x, y = problem()
    x[:40] = np.nan
    for head in ("linear", "ridge", "mlp", "forest"):
        found = fit_head(job(tmp_path, x, y[:40], head)).prediction
        assert np.isfinite(found).all()
    np.testing.assert_allclose(fit_head(job(tmp_path, x, y[:40], "ridge")).prediction, y[:40].mean())


def test_more_features_than_labels(tmp_path):
    x, y = problem(width=30)
    for head in ("linear", "ridge"):
        assert np.isfinite(fit_head(job(tmp_path, x, y[:10], head)).prediction).all()


def test_the_paper_s_network_and_forest():
    mlp = new_head("mlp", "standard", 4).regressor.steps[-1][1]
    assert (mlp.hidden_layer_sizes, mlp.max_iter, mlp.random_state) == ((64,), 5000, 4)
    assert [name for name, _ in new_head("forest", "none", 0).regressor.steps] == [
        "simpleimputer",
        "randomforestregressor",
    ]


def test_names_of_files():
    assert HeadFit("untrained-2", "ridge", "standard", 50, 7).name == "untrained-2-ridge-n50-s7"
    assert HeadFit("xrd", "mlp", "none", 50, 7).name == "xrd-mlp-unscaled-n50-s7"


def test_a_damaged_file_is_said(tmp_path):
    x, y = problem()
    work = job(tmp_path, x, y[:40])
    work.features.write_bytes(work.features.read_bytes()[:90])
    with pytest.raises(InputError, match=r"is damaged .* Delete it"):
        fit_head(work)
