"""The demonstration: honest about what it is, writes only where it is told to, ends with a verdict."""

from __future__ import annotations

import pytest

from matgl_infomax import weights
from matgl_infomax.data.read import read_crystals
from matgl_infomax.tasks.studies import demo


def test_everything_goes_under_the_folder_given(tmp_path):
    settings = demo.demo_settings(tmp_path)
    assert all(tmp_path in path.parents for path in (settings.out, settings.cache))
    assert settings.data.startswith(str(tmp_path))


def test_a_few_dozen_labels_and_two_processes(tmp_path):
    settings = demo.demo_settings(tmp_path)
    assert max(settings.labels) < 100
    assert settings.workers == 2
    assert settings.arms == ["scratch", f"pretrained={demo.WEIGHTS}", "descriptors"]
    assert demo.WEIGHTS in weights.names()
    assert settings.seeds >= 5, "fewer cannot tell the gain that there is"


def test_written_crystals_are_read_again(crystals, tmp_path):
    demo.write_crystals(crystals, tmp_path / "some" / "crystals.parquet")
    again = read_crystals(tmp_path / "some" / "crystals.parquet", targets=["y"])
    assert again.ids == [crystal.id for crystal in crystals]
    assert again.labels(["y"])[:, 0] == pytest.approx([crystal.labels["y"] for crystal in crystals])
    assert again[11].frac == pytest.approx(crystals[11].frac)


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(demo, "N_CRYSTALS", 3)
    assert demo.main(["--out", str(tmp_path / "file" / "below")]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("demo: Cannot write")


def test_ctrl_c_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    def stop(settings, n_crystals):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run_demo", stop)
    assert demo.main(["--out", str(tmp_path)]) == 130
    assert "goes on" in capsys.readouterr().err


@pytest.mark.slow
def test_small_demonstration_ends_with_a_verdict(tmp_path, capsys, monkeypatch):
    whole = demo.demo_settings(tmp_path)
    small = whole.model_copy(
        update={
            "labels": [10],
            "seeds": 2,
            "test_limit": 20,
            "finetune": whole.finetune.model_copy(update={"steps": 10, "validate_every": 5}),
        }
    )
    monkeypatch.setattr(demo, "demo_settings", lambda out: small)
    monkeypatch.setattr(demo, "N_CRYSTALS", 120)
    assert demo.main(["--out", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "a demonstration on generated crystals" in text
    assert text.splitlines()[-1].startswith("Verdict: ")
    assert (small.out / "curve.png").stat().st_size > 0
    assert (small.out / "verdict.json").is_file()
