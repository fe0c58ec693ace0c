"""The API reference: pages for the names listed here, their text from the docstrings."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pages import write_page
from sphinx.application import Sphinx

API: dict[str, tuple[str, list[str]]] = {
    "Public names": (
        "Everything that `import matgl_infomax` offers.",
        [
            "matgl_infomax.read_crystals",
            "matgl_infomax.pretrain",
            "matgl_infomax.finetune",
            "matgl_infomax.predict",
            "matgl_infomax.embed",
            "matgl_infomax.forcefield",
            "matgl_infomax.learning_curve",
            "matgl_infomax.Crystal",
            "matgl_infomax.Crystals",
            "matgl_infomax.SiteNet",
            "matgl_infomax.CrystalRegressor",
            "matgl_infomax.CrystalClassifier",
            "matgl_infomax.CrystalVectors",
            "matgl_infomax.weights.available",
            "matgl_infomax.weights.card",
            "matgl_infomax.InputError",
        ],
    ),
    "What these functions return": (
        "Results keep their numbers; they can be written as tables.",
        [
            "matgl_infomax.api.Finetuned",
            "matgl_infomax.train.pretrain.Pretrained",
            "matgl_infomax.tasks.studies.curve.CurveResult",
        ],
    ),
    "Settings": (
        "Classes behind the options of the command line; all of them refuse unknown names.",
        [
            "matgl_infomax.settings.base.Settings",
            "matgl_infomax.settings.training.ModelSettings",
            "matgl_infomax.settings.training.PretrainSettings",
            "matgl_infomax.settings.training.FinetuneSettings",
            "matgl_infomax.settings.training.EnsembleSettings",
            "matgl_infomax.settings.training.ForceFieldSettings",
        ],
    ),
    "Encoders": (
        "What a network has to offer so that every pretraining method can train it.",
        [
            "matgl_infomax.data.batch.SiteBatch",
            "matgl_infomax.objectives.base.TwoLevelEncoder",
            "matgl_infomax.objectives.base.SeparableEncoder",
            "matgl_infomax.nn.property_model.Encoding",
            "matgl_infomax.nn.property_model.PropertyModel",
            "matgl_infomax.contracts.EncoderContract",
        ],
    ),
    "Objectives": (
        "The contract of a pretraining method, and the methods.",
        [
            "matgl_infomax.objectives.base.Objective",
            "matgl_infomax.objectives.new_objective",
            "matgl_infomax.objectives.infomax.InfoMax",
            "matgl_infomax.objectives.masked.Masked",
            "matgl_infomax.objectives.denoise.Denoise",
            "matgl_infomax.objectives.fingerprint.Fingerprint",
            "matgl_infomax.objectives.twins.Twins",
            "matgl_infomax.objectives.dual.Dual",
            "matgl_infomax.objectives.supervised.Supervised",
            "matgl_infomax.objectives.combine.Combined",
        ],
    ),
    "The door to MatGL": (
        "The only module that imports MatGL, DGL or PyTorch Geometric.",
        [
            "matgl_infomax.host.load_model",
            "matgl_infomax.host.SupercellConverter",
            "matgl_infomax.host.RadiusConverter",
            "matgl_infomax.host.batch_to_graph",
            "matgl_infomax.host.graph_to_batch",
            "matgl_infomax.host.atomic_numbers",
        ],
    ),
    "Comparing results": (
        "Statistics and reports; nothing here imports torch.",
        [
            "matgl_infomax.leaderboard.compare_published.compare_with_published",
            "matgl_infomax.leaderboard.report.page.report",
            "matgl_infomax.leaderboard.verdict.Verdict",
            "matgl_infomax.leaderboard.verdict.Paired",
        ],
    ),
}
"""Headings of the reference: a sentence, and the full names below it. The only list of modules that the site reads."""


def found(name: str) -> Any:
    """The object of a full name."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def entry(name: str) -> Iterator[str]:
    """The reStructuredText that asks for one docstring."""
    thing = found(name)
    if inspect.isclass(thing) and issubclass(thing, Exception):
        yield from (f".. autoexception:: {name}", "")
    elif inspect.isclass(thing):
        yield from (f".. autoclass:: {name}", "   :members:", *_left_out(thing), "")
    else:
        yield from (f".. autofunction:: {name}", "")


def _left_out(thing: type) -> list[str]:
    """Members that the libraries below bring along and no user of this class needs."""
    # scikit-learn gives its estimators methods that ask for metadata, with references into its own site.
    names = "model_config, model_post_init, training, set_fit_request, set_predict_request, set_score_request"
    return [f"   :exclude-members: {names}"] if hasattr(thing, "__mro__") else []


def page(heading: str, sentence: str, names: list[str]) -> str:
    """One page of the reference."""
    lines = [heading, "=" * len(heading), "", sentence.replace("`", "``"), ""]
    return "\n".join([*lines, *(line for name in names for line in entry(name))])


def write_pages(app: Sphinx) -> None:
    """All pages and their list."""
    folder = Path(app.srcdir) / "generated" / "api"
    stems = [heading.lower().replace(" ", "_") for heading in API]
    for stem, (heading, (sentence, names)) in zip(stems, API.items(), strict=True):
        write_page(folder / f"{stem}.rst", page(heading, sentence, names))
    lines = ["# API reference", "", "Made from the docstrings of the code.", ""]
    lines += ["```{toctree}", ":maxdepth: 2", "", *stems, "```", ""]
    write_page(folder / "index.md", "\n".join(lines))


ASIDE = "\ue000"
"""Stands for a colon while napoleon reads; no docstring holds this sign."""


def colons(off: bool) -> Any:
    """A handler that takes the colons of an attribute's docstring aside, or puts them back.

    Napoleon takes what stands before a colon in the first line of an attribute for its type; here types stand in code.
    """

    def change(_app: Sphinx, what: str, _name: str, _thing: Any, _options: Any, lines: list[str]) -> None:
        if what in ("attribute", "property", "data"):
            lines[:] = [line.replace(": ", f"{ASIDE} ") if off else line.replace(ASIDE, ":") for line in lines]

    return change


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the pages before any is read."""
    app.connect("autodoc-process-docstring", colons(off=True), priority=400)
    app.connect("autodoc-process-docstring", colons(off=False), priority=600)
    app.connect("builder-inited", write_pages, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
