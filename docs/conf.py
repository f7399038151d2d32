"""How Sphinx builds these pages: Markdown through MyST, Python through autodoc, looks by furo."""

import logging
import tomllib
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.highlighting import lexers

lexers["mermaid"] = TextLexer()  # a picture where Mermaid is known, plain text elsewhere

logging.getLogger("alembic").setLevel(logging.WARNING)

_PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"

project = "Expunge"
release = tomllib.loads(_PYPROJECT.read_text())["project"]["version"]
project_copyright = "the Expunge authors"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"

html_theme = "furo"
html_title = f"Expunge {release}"
