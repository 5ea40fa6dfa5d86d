"""How Sphinx builds the documentation: ``make docs``."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

import monai_inn  # noqa: E402  # the checkout's own

# The address of the repository is written in CMakeLists.txt alone, for the Extensions Index reads it there.
HOME = re.search(r'EXTENSION_HOMEPAGE "(.*)"', (ROOT / "CMakeLists.txt").read_text(encoding="utf-8"))[1]

project = "monai_inn"
author = project_copyright = "The monai_inn developers"
version = release = monai_inn.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "jupyter_execute"]
html_theme = "furo"
html_title = f"monai_inn {version}"
html_theme_options = {"source_repository": HOME, "source_branch": "main", "source_directory": "docs/"}
html_copy_source = False

myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]
# Tutorials are run where nothing of the checkout is beside them, one after the other; results are kept.
nb_execution_mode = "cache"
nb_execution_timeout = 300
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_merge_streams = True

autodoc_typehints = "none"  # shapes and units stand in the docstrings
autodoc_member_order = "bysource"
napoleon_use_ivar = True  # fields of tuples are listed once
napoleon_use_rtype = False
linkcheck_ignore = [re.escape(HOME)]  # files of the repository; a test finds them in the checkout
linkcheck_anchors = False  # many sites make theirs by script
suppress_warnings = ["misc.highlighting_failure"]  # tables and shell lines with an ellipsis


def link_to_repository(app: Sphinx, name: str, source: list[str]) -> None:
    """Lead links to files beside ``docs`` to the repository, where they are."""

    def led(link: re.Match[str]) -> str:
        path = ((HERE / name).parent / link[1]).resolve()
        if path.is_relative_to(HERE):
            return link[0]
        return f"]({HOME}/blob/main/{path.relative_to(ROOT).as_posix()}"

    source[0] = re.sub(r"\]\((\.\./[^)#]*)", led, source[0])


def setup(app: Sphinx) -> None:
    """Connect what is done to each page."""
    app.connect("source-read", link_to_repository)
