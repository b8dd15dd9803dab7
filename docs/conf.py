"""Settings of Sphinx for the documentation; `scripts/docs` builds it."""

import re
import tomllib
from pathlib import Path

from sphinx.application import Sphinx

_ROOT = Path(__file__).parents[1]
_PROJECT = tomllib.loads((_ROOT / "pyproject.toml").read_text("utf-8"))["project"]

project = _PROJECT["name"]
version = release = _PROJECT["version"]
author = copyright = "The nemo-bridge authors"  # noqa: A001 - Sphinx has this name for it
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
nitpicky = True

# Anchors of headings as GitHub makes them, so that links work in both places.
myst_heading_anchors = 4
# Blocks of code are shown even if a part is left out of them, as `…` in JSON.
suppress_warnings = ["misc.highlighting_failure"]

html_theme = "furo"
html_title = f"nemo-bridge {version}"
html_static_path = []
html_copy_source = False
html_show_sphinx = False
# Nothing is loaded from elsewhere, so the site works without a network.
html_theme_options = {"footer_icons": []}


def _without_links_outside(_app: Sphinx, _name: str, source: list[str]) -> None:
    """Leave the text of links to folders and pages that the site does not have; other files can be downloaded."""

    def replaced(link: re.Match[str]) -> str:
        target = _ROOT / link[2]
        if link[2] == "CHANGELOG.md":
            return f"[{link[1]}](changelog.md)"
        return link[1] if target.is_dir() or target.suffix == ".md" else link[0]

    source[0] = re.sub(r"\[([^\]]+)\]\(\.\./([^)#]+)(?:#[^)]*)?\)", replaced, source[0])


def setup(app: Sphinx) -> None:
    """Register what is special here."""
    app.connect("source-read", _without_links_outside)
