"""Sphinx's settings for the pages that `scripts/docs` builds."""

from __future__ import annotations

import re
from typing import Any

import imagegen_magic

project = "imagegen_magic"
author = "the imagegen_magic developers"
version = release = imagegen_magic.__version__
html_title = f"imagegen_magic {release}"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx_copybutton"]
root_doc = "index"
exclude_patterns = ["**/.ipynb_checkpoints"]

nb_execution_mode = "off"  # scripts/docs and the tests execute the notebooks
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # no script from another host: no notebook keeps a widget
myst_enable_extensions = ["attrs_inline"]
myst_heading_anchors = 3
suppress_warnings = ["mystnb.unknown_mime_type"]

default_role = "code"  # docstrings write names in single backticks
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100

html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
templates_path = ["_templates"]
html_css_files = ["pages.css"]
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {"**": ["pages.html"]}
html_theme_options = {
    "navbar_center": [],
    "navbar_persistent": ["search-button"],
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
copybutton_exclude = ".linenos, .gp, .go"

PICTURE = re.compile(r'<picture>\s*<source [^>]*srcset="([^"]+)">\s*<img src="([^"]+)" alt="([^"]+)">\s*</picture>')


def setup(app: Any) -> None:
    """Read the pages as GitHub shows them: links out of docs/, and pictures in two themes."""
    app.connect("source-read", adapt)
    app.connect("include-read", lambda app, path, parent, content: adapt(app, str(path), content))


def adapt(app: Any, name: str, content: list[str]) -> None:
    """Change the text of a page in place: a pair of pictures follows the page's theme, a link to another folder is one of the site."""
    text = PICTURE.sub(lambda found: f"![{found[3]}]({found[2]}){{.only-light}}\n![{found[3]}]({found[1]}){{.only-dark}}", content[0])
    content[0] = text.replace("](../notebooks/", "](notebooks/").replace("](../CHANGELOG.md)", "](changes.md)")
