"""How the documentation site is built: `make docs`, without network, warnings are errors."""

from __future__ import annotations

import os
import sys
from functools import partial
from importlib.metadata import version as installed
from pathlib import Path

import nbclient
from jupyter_cache.executors import utils as notebook_runner

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_ext"))

project = "matgl-infomax"
author = "The matgl-infomax developers"
project_copyright = author
release = version = installed("matgl-infomax")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "formulas",
    "results",
    "settings_pages",
    "api_pages",
    "project_pages",
    "weights_pages",
]
exclude_patterns = ["_build", "_ext", "examples/*.ipynb", "**/*.txt"]
nitpicky = True
templates_path: list[str] = []
# Pages in Markdown quote formulas with dollars; notes and warnings are written with colons.
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist", "attrs_block"]
myst_heading_anchors = 4
suppress_warnings = ["config.cache"]

# Tutorials run while the site is built, in a folder of their own. Sphinx reads only pages that have changed, and runs
# only those. No "cache": with it, myst-nb offers notebooks without outputs.
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_timeout = 900
nb_execution_raise_on_error = True
nb_merge_streams = True
# Commands write in pieces that end within lines. nbclient joins the pieces if it is told to, and nobody tells it.
notebook_runner.executenb = partial(nbclient.execute, coalesce_streams=True)
# The commands of tutorials are those of this environment.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

# Types that other projects document. Nothing is asked of their sites, for there is no network.
nitpick_ignore_regex = [
    ("py:.*", r"(?!matgl_infomax).*"),
    ("py:.*", r"matgl_infomax\..*"),
]

autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = ["Shapes"]

sphinx_gallery_conf = {
    "examples_dirs": [str(HERE.parent / "examples")],
    "gallery_dirs": ["examples"],
    "filename_pattern": r"\.py$",
    "image_scrapers": ("matplotlib",),
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "capture_repr": (),
    "write_computation_times": False,  # its page asks other hosts for scripts
    "remove_config_comments": True,
    "matplotlib_animations": False,
}

html_theme = "furo"
html_title = "matgl-infomax"
html_static_path = ["_static"]
html_favicon = "_static/icon.svg"
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_math_renderer = "formulas"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1f5f8b", "color-brand-content": "#1f5f8b"},
    "dark_css_variables": {"color-brand-primary": "#7fb8e0", "color-brand-content": "#7fb8e0"},
    "navigation_with_keys": True,
}
copybutton_prompt_text = "$ "
copybutton_exclude = ".linenos, .gp, .go"
