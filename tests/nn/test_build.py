"""Where weights come from: settings and a seed, a folder, a pretrained encoder; a saved model is whole or absent."""

from __future__ import annotations

import pytest
import torch

from matgl_infomax.data.radius import RadiusRule
from matgl_infomax.data.supercell import SupercellRule
from matgl_infomax.errors import InputError
from matgl_infomax.nn.build import edge_rule, load_encoder, new_encoder, new_model, save_model, with_new_head
from matgl_infomax.nn.matgl_net import MatGLNet
from matgl_infomax.nn.sitenet import ELEMENTS, SiteNet
from matgl_infomax.settings.training import ModelSettings

MODEL = ModelSettings(supercell_atoms=20)
MEGNET = ModelSettings(
    name="megnet", options={"hidden_layer_sizes_input": [16, 8], "hidden_layer_sizes_conv": [16, 8], "nblocks": 1}
)


def same(one, other):
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(("name", "value"), [("preset", "published"), ("supercell_atoms", 12), ("primitive", False)])
def test_model_setting_reaches_the_model(name, value):
    changed = new_model(ModelSettings(**{name: value}), 1, 0)
    plain = new_model(ModelSettings(), 1, 0)
    assert changed.init_args != plain.init_args


@pytest.mark.parametrize("model", [MODEL, MEGNET], ids=["sitenet", "megnet"])
def test_the_seed_decides_the_weights_and_settings_the_shape(model):
    made = new_model(model, 3, 7)
    assert type(made) is (SiteNet if model is MODEL else MatGLNet) and made.n_targets == 3
    assert same(made, new_model(model, 3, 7)) and not same(made, new_model(model, 3, 8))


def test_options_of_sitenet_are_checked():
    made = new_model(ModelSettings(options={"n_blocks": 1}), 1, 0)
    assert len(made.local_encoder.blocks) == 1
    with pytest.raises(InputError, match=r"SiteNet has no option blocks, wings\. Options: .*n_blocks"):
        new_model(ModelSettings(options={"blocks": 1, "wings": 2, "n_blocks": 1}), 1, 0)
    with pytest.raises(InputError, match="SiteNet has no option n_targets"):
        new_model(ModelSettings(options={"n_targets": 2}), 1, 0)  # the data say that


def test_rule_of_the_edges_goes_with_the_network():
    assert edge_rule(ModelSettings(supercell_atoms=12, primitive=False)) == SupercellRule(12, False, 1e-4, True)
    for preset, standard in (("rich", True), ("compact", True), ("published", False)):
        settings = ModelSettings(preset=preset)
        assert edge_rule(settings).standard is standard is new_model(settings, 1, 0).edges.standard
        other = ModelSettings(preset=preset, options={"standard_cell": not standard})
        assert edge_rule(other).standard is not standard
    assert edge_rule(MEGNET) == RadiusRule(4.0) == new_model(MEGNET, 1, 0).edges
    options = ModelSettings(name="tensornet", options={"units": 8, "nblocks": 1, "cutoff": 3.5})
    assert edge_rule(options) == RadiusRule(3.5)


def test_elements_of_the_data_are_added_and_told(capsys):
    plain = new_encoder(MODEL, 1, 0, [1, 8, 26])
    assert plain.element_types == tuple(ELEMENTS) and capsys.readouterr().err == ""
    more = new_encoder(MODEL, 1, 0, [8, 118, 118])
    assert more.element_types == (*ELEMENTS, "Og")
    assert "the data hold Og: the network gets vectors for them" in capsys.readouterr().err


def test_new_head_keeps_the_encoder_and_nothing_else():
    encoder = new_model(MODEL, 1, 0)
    encoder.target_mean.fill_(9.0)
    model = with_new_head(encoder, 3, seed=4)
    assert model.n_targets == 3 and float(model.target_mean.abs().sum()) == 0.0
    for name, value in encoder.state_dict().items():
        if not name.startswith(("head", "target")):
            assert torch.equal(value, model.state_dict()[name])
    assert torch.equal(with_new_head(encoder, 3, seed=4).head.out.bias, model.head.out.bias)


@pytest.mark.parametrize("model", [MODEL, MEGNET], ids=["sitenet", "megnet"])
def test_new_head_goes_with_its_seed_alone(model):
    one, other = (with_new_head(new_model(model, 1, 0), 2, seed=seed) for seed in (4, 5))
    weights = one.state_dict(), other.state_dict()
    differ = {name for name in weights[0] if not torch.equal(weights[0][name], weights[1][name])}
    assert differ and all(name.startswith("head.") for name in differ)


def test_an_encoder_whose_weights_do_not_fit_is_refused():
    encoder = new_model(MODEL, 1, 0)
    encoder.register_buffer("spare", torch.ones(1))
    with pytest.raises(InputError, match=r"The encoder's weights do not fit: spare\."):
        with_new_head(encoder, 1, seed=0)


def test_an_encoder_with_weights_of_another_shape_is_refused():
    encoder = new_model(MODEL, 1, 0)
    name, weight = next((n, w) for n, w in encoder.named_parameters() if not n.startswith("head.") and w.dim() == 2)
    owner, _, last = name.rpartition(".")
    setattr(encoder.get_submodule(owner), last, torch.nn.Parameter(weight.detach()[:-1].clone()))
    with pytest.raises(InputError, match=rf"The encoder's weights do not fit: {name} have another shape\."):
        with_new_head(encoder, 1, seed=0)


def test_saved_model_opens_with_the_same_weights(tmp_path):
    model = new_model(ModelSettings(preset="compact", options={"n_heads": 3}), 2, 1)
    model.target_mean.fill_(4.0)
    save_model(model, tmp_path, {"note": 1})
    assert {file.name for file in tmp_path.iterdir()} == {"model.pt", "state.pt", "model.json", "SHA256SUMS"}
    assert same(load_encoder(tmp_path), model) and same(load_encoder(str(tmp_path)), model)


@pytest.mark.parametrize("error", [RuntimeError("file write failed"), OSError(28, "No space left on device")])
def test_a_model_is_whole_or_absent(error, tmp_path, monkeypatch):
    """The disk is full halfway: what was there stays, no draft lies about, and what to do is said."""
    model = new_model(MODEL, 1, 0)
    save_model(model, tmp_path, {})

    def half(self, path, **_):
        path.mkdir()
        (path / "model.pt").write_bytes(b"half")
        raise error

    monkeypatch.setattr(SiteNet, "save", half)
    with pytest.raises(InputError, match=r"Cannot write the model in .*Free some space and start again\."):
        save_model(new_model(MODEL, 1, 9), tmp_path, {})
    assert {file.name for file in tmp_path.iterdir()} == {"model.pt", "state.pt", "model.json", "SHA256SUMS"}
    assert same(load_encoder(tmp_path), model)
