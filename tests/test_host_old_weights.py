"""Weights of an older version of a network are refused: MatGL warns, and then computes something else."""

from __future__ import annotations

import json
import shutil

import pytest

from matgl_infomax import cli, host
from matgl_infomax.errors import InputError
from matgl_infomax.io import write_sums
from matgl_infomax.nn.build import new_model, save_model
from matgl_infomax.settings.training import ModelSettings


def saved_as(folder, version, **kind):
    """A compact Site-Net in a folder that says it was saved by some version of its class."""
    save_model(new_model(ModelSettings(preset="compact"), 1, 0), folder, {})
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**card, "@model_version": version, **kind}))
    write_sums(folder, [folder / name for name in host.MODEL_FILES])
    return folder


def test_a_version_below_the_class_is_an_error_that_names_both(tmp_path, capsys):
    folder = saved_as(tmp_path / "old", 0)
    with pytest.raises(InputError, match=r"old holds weights of SiteNet version 0, and MatGL .* has version 1: they"):
        host.load_model(folder)
    with host.old_weights_allowed(), pytest.warns(UserWarning, match="Incompatible model version"):
        assert type(host.load_model(folder)).__name__ == "SiteNet"
    assert "it may compute something else" in capsys.readouterr().err
    with pytest.raises(InputError, match="--allow-old-weights opens them all the same"):
        host.load_model(folder)


@pytest.mark.parametrize("version", [1, 2])
def test_this_version_and_later_ones_open(tmp_path, version):
    assert type(host.load_model(saved_as(tmp_path / "new", version))).__name__ == "SiteNet"


@pytest.mark.parametrize("version", [None, "1", 0.5])
def test_a_version_that_is_no_number_counts_as_old(tmp_path, version):
    with pytest.raises(InputError, match=f"version {version}, and MatGL"):
        host.load_model(saved_as(tmp_path / "odd", version))


def test_a_network_inside_a_potential_is_looked_at_too(shared, tmp_path):
    """MatGL's own weights of 2025: the potential has the version of today, its TensorNet has not."""
    (folder,) = (path for path in (shared / "data" / "matgl_weights").iterdir() if path.is_dir())
    assert json.loads((folder / "model.json").read_text())["@model_version"] == 3
    with pytest.raises(InputError, match=r"holds weights of TensorNet version 1, and MatGL .* has version 2"):
        host.load_model(folder)


def test_the_command_takes_them_only_when_told(tmp_path, crystals, capsys):
    folder, table = saved_as(tmp_path / "old", 0), tmp_path / "vectors.csv"
    crystals[0].to_structure().to(str(tmp_path / "Cu.cif"))
    words = ["embed", "--data", str(tmp_path / "Cu.cif"), "--checkpoint", str(folder), "--out", str(table),
             "--cache", str(tmp_path / "cache")]  # fmt: skip
    assert cli.main(words) == 2 and not table.exists()
    assert "--allow-old-weights opens them" in capsys.readouterr().err
    with pytest.warns(UserWarning, match="Incompatible model version"):
        assert cli.main([*words, "--allow-old-weights"]) == 0
    assert table.is_file()
    shutil.rmtree(tmp_path / "cache")
