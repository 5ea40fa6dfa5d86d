"""The page of a half-life in ``monai-inn view``."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from decay_lab.commands import in_words
from monai_inn.files import read_json


def read_result(folder: str | PathLike[str], display: Any) -> SimpleNamespace:
    """Return the result in a folder; the viewer prints the warnings of its ``record``."""
    return SimpleNamespace(record=read_json(Path(folder) / "half_life.json"))


def open_result(server: Any, result: SimpleNamespace, name: str) -> None:
    """Make the page. Texts of files reach it as state, never as part of its template."""
    from trame.ui.vuetify3 import VAppLayout
    from trame.widgets import html

    from monai_inn.viewer.page import dress

    server.state.update({"trame__title": f"{name}: half-life", "line": in_words(result.record)})
    with VAppLayout(server, theme="dark"):
        dress()
        with html.Div(classes="page"):
            with html.Header(classes="top"):
                html.H1("Half-life of a decay")
            html.P("{{ line }}", id="line", style="padding: 1rem")
