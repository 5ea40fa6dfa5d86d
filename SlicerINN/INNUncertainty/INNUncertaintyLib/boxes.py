"""Filling and selecting in combo boxes and sliders without telling those who listen to the user."""

from contextlib import contextmanager

__all__ = ["fill", "quiet", "select"]


@contextmanager
def quiet(*widgets):
    """While the block runs, widgets do not say that they change."""
    before = [widget.blockSignals(True) for widget in widgets]
    try:
        yield
    finally:
        for widget, was in zip(widgets, before, strict=True):
            widget.blockSignals(was)


def fill(box, items):
    """Offer texts with their values, and keep what is selected."""
    if items == [(box.itemText(n), box.itemData(n)) for n in range(box.count)]:
        return
    with quiet(box):
        kept = box.currentData
        box.clear()
        for text, value in items:
            box.addItem(text, value)
    if box.findData(kept) >= 0:
        select(box, kept)


def select(box, value):
    """Select the item of a value; nothing if it is not offered."""
    with quiet(box):
        box.setCurrentIndex(box.findData(value))
