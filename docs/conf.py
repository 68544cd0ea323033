"""Sphinx configuration. Build: ``sphinx-build -W --keep-going -b html docs <out>``.

The pages are plain Markdown that reads well where the repository is hosted: no
directives, relative links. What only the site needs is added here while it builds, by
`site_pages.py`: tables of contents, the gallery, the API reference, and copies of pages
that live elsewhere in the repository. Nothing is downloaded and no notebook is run.
"""

import importlib.metadata
import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
# This tree is documented, whatever else may be installed.
sys.path[:0] = [str(HERE.parent), str(HERE)]
os.environ.setdefault("MPLBACKEND", "Agg")

project = "sparselbi"
author = "sparselbi developers"
copyright = author
try:
    release = importlib.metadata.version("sparselbi")
except importlib.metadata.PackageNotFoundError:
    release = ""

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_nb",
    "sphinx_design",
    "site_pages",
]
root_doc = "index"
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
templates_path = ["_templates"]

# Markdown and notebooks
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "off"  # outputs as they are stored
nb_merge_streams = True

# API reference
default_role = "obj"  # a link if it is a public name, code otherwise
autosummary_generate = True
autodoc_typehints = "none"  # types are in the docstrings
autodoc_member_order = "bysource"
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False  # the class template lists them
numpydoc_class_members_toctree = False

# Pages
smartquotes = False
html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = f"{project} {release}".strip()
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": project},
    "header_links_before_dropdown": 6,
    "navbar_persistent": ["search-button"],
    "navigation_with_keys": False,
    "show_nav_level": 1,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
}
html_sidebars = {
    "quickstart": [],
    "choose": [],
    "glossary": [],
    "benchmarks": [],
    "differences_from_libra": [],
    "generated/CHANGELOG": [],
}
