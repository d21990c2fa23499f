"""How Sphinx builds the site. `make site` calls it through build.py."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

from pygments.lexers.special import TextLexer

sys.path.insert(0, str(Path(__file__).parent))

project = "mergelab"
author = "The mergelab contributors"
copyright = "The mergelab contributors; code Apache-2.0, lessons CC BY 4.0"
version = release = version_of("mergelab")
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "mathml"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the outputs are those of the instructor notebooks
nb_merge_streams = True
# Docstrings name code between single backticks.
default_role = "literal"
autodoc_typehints = "description"
autodoc_member_order = "bysource"

html_theme = "pydata_sphinx_theme"
html_title = "mergelab"
html_static_path = [str(Path(__file__).parent / "static")]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,  # arrow keys belong to the widgets and to scrolling
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}


def setup(app):
    """Blocks of a class list are shown as they are."""
    app.add_lexer("csv", TextLexer)
