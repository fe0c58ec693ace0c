"""Paths of settings are looked at before anything is read: missing is called missing, by its kind and option."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from matgl_infomax.data.find import PATH_CHECKS, check_paths
from matgl_infomax.errors import InputError
from matgl_infomax.settings import commands, training
from matgl_infomax.settings.base import Settings, mark


def finetune(tmp_path, **changes):
    values = {"data": "d", "out": tmp_path / "out", "cache": tmp_path / "cache"}
    return training.FinetuneConfig(**{**values, **changes})


def test_a_missing_folder_is_called_missing(tmp_path):
    with pytest.raises(InputError) as found:
        check_paths(finetune(tmp_path, init=tmp_path / "encodr"))
    assert str(found.value).startswith(f"There is no folder {tmp_path / 'encodr'} (--init).")
    (tmp_path / "encoder").mkdir()
    with pytest.raises(InputError, match="Did you mean 'encoder'"):
        check_paths(finetune(tmp_path, init=tmp_path / "encodr"))


def test_a_folder_without_a_model_is_no_checkpoint(tmp_path):
    with pytest.raises(InputError, match=r"holds no saved model \(--init\)"):
        check_paths(finetune(tmp_path, init=tmp_path))
    (tmp_path / "model.json").write_text("{}")
    check_paths(finetune(tmp_path, init=tmp_path))


def test_kinds_are_not_mixed_up(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    for changes, sentence in (
        ({"init": file}, "--init needs a folder. Received a file"),
        ({"labels_file": tmp_path}, "--labels-file needs a file. Received a folder"),
        ({"labels_file": tmp_path / "absent.csv"}, "There is no file"),
        ({"out": file}, "--out needs a folder. A file is there"),
        ({"out": file / "below"}, "Cannot write to"),
    ):
        with pytest.raises(InputError, match=sentence.replace(".", r"\.")):
            check_paths(finetune(tmp_path, **changes))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_that_takes_no_file_is_told(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="Cannot write to"):
        check_paths(finetune(tmp_path))


def test_the_format_of_a_table_is_asked_for_before_the_work(tmp_path):
    (tmp_path / "model.json").write_text("{}")
    words = {"data": "d", "checkpoint": tmp_path, "cache": tmp_path / "cache"}
    with pytest.raises(InputError, match=r"\.csv, \.parquet"):
        check_paths(training.PredictConfig(**words, out=tmp_path / "p.xlsx"))
    check_paths(training.PredictConfig(**words, out=tmp_path / "p.csv"))
    assert not (tmp_path / "p.csv").exists() and not (tmp_path / "cache").exists(), "looking leaves nothing behind"


@pytest.mark.parametrize("module", [training, commands])
def test_every_path_says_what_it_needs(module):
    """A new setting that is a path is looked at too."""
    for kind in vars(module).values():
        if isinstance(kind, type) and issubclass(kind, Settings):
            for name, field in kind.model_fields.items():
                if field.annotation in (Path, Path | None, list[Path]):
                    assert mark(field, "path") in PATH_CHECKS, f"{kind.__name__}.{name}"
