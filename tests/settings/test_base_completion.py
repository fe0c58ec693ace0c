"""Shell completion: commands, options and all choices, by a real shell."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from matgl_infomax import cli
from matgl_infomax.settings.base import SHELLS
from matgl_infomax.settings.training import OBJECTIVE_NAMES


@pytest.fixture
def script(capsys):
    def printed(shell):
        with pytest.raises(SystemExit) as ended:
            cli.main(["--print-completion", shell])
        assert ended.value.code == 0
        return capsys.readouterr().out

    return printed


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash on this machine")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["cur"], {"curve"}),
        ([""], {*cli.COMMANDS}),
        (["pretrain", "--no-pro"], {"--no-progress"}),
        (["pretrain", "--model", ""], {"sitenet", "megnet", "m3gnet", "tensornet", "chgnet", "so3net"}),
        (["pretrain", "--objective", ""], {*OBJECTIVE_NAMES}),
        (["finetune", "--logger", ""], {"csv", "tensorboard", "wandb", "mlflow"}),
        (["curve", "--launcher", "s"], {"slurm"}),
        (["curve", "--arms", "frozen"], {"frozen"}),
    ],
)
def test_bash_completes(words, expected, script, tmp_path):
    (tmp_path / "script").write_text(script("bash"))
    quoted = " ".join(f"'{word}'" for word in ["matgl-infomax", *words])
    shell = f"source {tmp_path / 'script'}; COMP_WORDS=({quoted}); COMP_CWORD={len(words)}; _shtab_matgl_infomax; "
    done = subprocess.run(
        ["bash", "-c", f'{shell}printf "%s\\n" "${{COMPREPLY[@]}}"'], capture_output=True, text=True, check=True
    )
    assert {*done.stdout.split()} == expected


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_gets_a_script(shell, script):
    text = script(shell)
    assert all(name in text for name in cli.COMMANDS)
