"""Controls of a page; each has the name of the variable of the page's state that it sets."""

from __future__ import annotations

from typing import Any

from trame.widgets import html
from trame.widgets import vuetify3 as v3

__all__ = ["TIGHT", "choice", "slider", "switch"]

TIGHT: dict[str, Any] = {"density": "compact", "hide_details": True}


def choice(name: str, label: str, items: str) -> None:
    """A list to choose from, whose entries are a variable of the state."""
    v3.VSelect(label=label, v_model=(name,), items=(items,), id=name, **TIGHT)


def switch(name: str, label: str, disabled: str = "false") -> None:
    """What is on or off."""
    v3.VSwitch(label=label, v_model=(name,), disabled=(disabled,), id=name, color="primary", **TIGHT)


def slider(name: str, label: str, text: str, low: Any, high: Any, step: Any, disabled: str = "false") -> None:
    """A slider with its name and, from the state, its value in words and units."""
    with html.Div(classes="slider", id=name):
        with html.Div(classes="says"):
            html.Span(label)
            html.Strong(f"{{{{ {text} }}}}")
        v3.VSlider(
            v_model=(name,),
            min=low,
            max=high,
            step=step,
            disabled=(disabled,),
            name=label,
            color="primary",
            **TIGHT,
        )
