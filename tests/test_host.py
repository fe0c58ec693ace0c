"""Saved models come back exactly, and files that lie, are broken or are dangerous do not come in at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from matgl_infomax import host, io
from matgl_infomax.data.crystal import Crystal
from matgl_infomax.errors import InputError
from matgl_infomax.nn.sitenet import SiteNet


@pytest.fixture
def saved(model: SiteNet, tmp_path: Path) -> Path:
    """A saved model whose label normaliser is not the trivial one."""
    model.target_mean.fill_(-1.5)
    model.target_std.fill_(0.7)
    model.save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def unhashed(saved: Path) -> Path:
    """The same as MatGL itself writes it: without hashes, so that files are looked at for what they hold."""
    (saved / io.SUMS).unlink()
    return saved


class Bomb:
    """Creates a folder when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.target,)


def test_a_fresh_process_predicts_the_same(
    model: SiteNet, saved: Path, crystals: list[Crystal], fresh_process: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    expected = [model.predict_structure(c.to_structure()).item() for c in crystals[:4]]
    structures = json.dumps([c.to_structure().as_dict() for c in crystals[:4]])
    (saved.parent / "structures.json").write_text(structures)
    code = f"""
import json, matgl, torch
first = matgl.load_model({str(saved)!r})
from matgl_infomax import host
from pymatgen.core import Structure
structures = [Structure.from_dict(d) for d in json.load(open({str(saved.parent / "structures.json")!r}))]
for model in (first, host.load_model({str(saved)!r})):
    print(json.dumps([type(model).__name__] + [model.predict_structure(s).item() for s in structures]))
"""
    done = fresh_process(code)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert answers == [["SiteNet", *expected]] * 2, done.stderr


def test_loaded_equals_saved(model: SiteNet, saved: Path) -> None:
    again = host.load_model(saved)
    assert isinstance(again, SiteNet)
    assert again.max_atoms == 16
    assert again.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(again.state_dict()[k], v) for k, v in model.state_dict().items())


def test_models_of_matgl_load_too(tmp_path: Path) -> None:
    from matgl.models import MEGNet

    megnet = MEGNet(element_types=("Na", "Cl"))
    megnet.save(tmp_path / "megnet")
    again = host.load_model(str(tmp_path / "megnet"))
    assert type(again) is MEGNet
    assert all(torch.equal(again.state_dict()[k], v) for k, v in megnet.state_dict().items())


def test_missing_folder_or_file(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no saved model: model.json, model.pt, state.pt missing"):
        host.load_model(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no saved model"):
        host.load_model("materialyze/MEGNet")
    (saved / "state.pt").unlink()
    with pytest.raises(InputError, match=r"holds no saved model: state.pt missing"):
        host.load_model(saved)


@pytest.mark.parametrize("name", ["model.pt", "state.pt"])
@pytest.mark.parametrize("legacy", [False, True])
def test_nothing_is_unpickled(unhashed: Path, tmp_path: Path, name: str, legacy: bool) -> None:
    target = tmp_path / "created by the pickle"
    content = {"element_types": Bomb(target)}
    torch.save(content, unhashed / name, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(InputError, match=f"{name} is damaged, or holds more than tensors"):
        host.load_model(unhashed)
    assert not target.exists()
    torch.load(unhashed / name, weights_only=False)
    assert target.exists(), "the bomb itself does not work, so this test would prove nothing"


def test_no_function_is_called_by_name(unhashed: Path, tmp_path: Path) -> None:
    target = tmp_path / "created by name"
    arguments = {"n_targets": {"@module": "os", "@class": "mkdir", "init_args": {"path": str(target)}}}
    torch.save(arguments, unhashed / "model.pt")
    with pytest.raises(InputError, match=r"asks for os.mkdir, which is no known MatGLModel"):
        host.load_model(unhashed)
    assert not target.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [("evil_module_beside", "Model"), ("os", "mkdir"), ("matgl.nothing", "X"), ("matgl_infomax.errors", "InputError"),
     ("", "X"), ("matgl..x", "X"), (None, None)],
)  # fmt: skip
def test_strange_classes_are_not_imported(
    unhashed: Path, tmp_path: Path, module: str | None, name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil_module_beside.py").write_text("import os\nos.mkdir('created at import')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    card = json.loads((unhashed / "model.json").read_text()) | {"@module": module, "@class": name}
    (unhashed / "model.json").write_text(json.dumps(card))
    with pytest.raises(InputError, match="which is no known MatGLModel"):
        host.load_model(unhashed)
    assert not (tmp_path / "created at import").exists()


def test_a_class_the_user_imported_is_welcome() -> None:
    class Mine(SiteNet):
        pass

    entry = {"@module": __name__, "@class": "Mine"}
    with pytest.raises(InputError, match="import its module first"):
        io.check_class(entry, host.MatGLModel, ("matgl",), Path("folder"))
    globals()["Mine"] = Mine
    try:
        io.check_class(entry, host.MatGLModel, ("matgl",), Path("folder"))
    finally:
        del globals()["Mine"]


@pytest.mark.parametrize("name", ["model.pt", "state.pt", "model.json"])
@pytest.mark.parametrize("keep", [0, 1, 0.5, 0.99])
def test_truncated_files(unhashed: Path, name: str, keep: float) -> None:
    content = (unhashed / name).read_bytes()
    (unhashed / name).write_bytes(content[: int(keep if keep == 1 else keep * len(content))])
    with pytest.raises(InputError, match=name):
        host.load_model(unhashed)


def test_a_list_is_no_model(unhashed: Path) -> None:
    torch.save([1, 2], unhashed / "state.pt")
    with pytest.raises(InputError, match=r"should hold a dictionary. Received: list"):
        host.load_model(unhashed)
    (unhashed / "model.json").write_text("[]")
    with pytest.raises(InputError, match=r"should hold a JSON object. Received: list"):
        host.load_model(unhashed)


def test_weights_must_fit(model: SiteNet, unhashed: Path) -> None:
    state = model.state_dict()
    name = next(iter(dict(model.named_parameters())))
    torch.save({("else" if k == name else k): v for k, v in state.items()}, unhashed / "state.pt")
    with pytest.raises(InputError, match=name):
        host.load_model(unhashed)
    torch.save(state | {"stranger.weight": torch.zeros(1)}, unhashed / "state.pt")
    with pytest.raises(InputError, match=r"Unexpected: stranger\.weight"):
        host.load_model(unhashed)
    torch.save({k: v for k, v in state.items() if k != "target_mean"}, unhashed / "state.pt")
    with pytest.raises(InputError, match="Missing: target_mean"):
        host.load_model(unhashed)
    torch.save(state | {name: torch.zeros(7, 7, 7)}, unhashed / "state.pt")
    with pytest.raises(InputError, match="MatGL cannot load"):
        host.load_model(unhashed)


def test_arguments_the_class_does_not_take(unhashed: Path) -> None:
    torch.save({"n_rings": 9}, unhashed / "model.pt")
    with pytest.raises(InputError, match=r"MatGL cannot load .*n_rings"):
        host.load_model(unhashed)


def test_ctrl_c_stays_ctrl_c(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(SiteNet, "__init__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        host.load_model(saved)


HOMELESS = """
import os, pwd, sys
os.environ.pop("HOME", None)
def nobody(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = nobody
from matgl_infomax.errors import exit_code
sys.exit(exit_code("prog", lambda: __import__("matgl_infomax.host")))
"""


def test_a_container_user_without_a_home_gets_a_sentence(tmp_path):
    """A process of a user that the system does not know, and without HOME."""
    done = subprocess.run(
        [sys.executable, "-c", HOMELESS], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("prog: MatGL could not start: ") and "home folder" in done.stderr
    assert "Traceback" not in done.stderr and not list(tmp_path.iterdir())
