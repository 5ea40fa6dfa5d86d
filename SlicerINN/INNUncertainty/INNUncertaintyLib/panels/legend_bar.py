"""The color scale in the panel, beside the views: it covers nothing of the image."""

import qt

__all__ = ["BAR", "legend_picture"]

BAR = 20, 2, 288, 14  # left, top, width and height of the colors in the picture
_WIDTH, _HEIGHT = 328, 36
_TICK = 4
_INK, _PAPER, _HIDDEN = "#1b1b1b", "#ffffff", "#c8c8c8"


def legend_picture(legend):
    """Return the colors of a legend over round numbers, one column of pixels for each of its colors.

    What is not drawn is gray and crossed; a triangle stands where trust ends.

    Args:
        legend: a ``Legend`` of as many colors as ``BAR`` is wide.
    """
    left, top, width, height = BAR
    picture = qt.QPixmap(_WIDTH, _HEIGHT)
    picture.fill(qt.QColor(_PAPER))
    painter = qt.QPainter(picture)
    for column, (red, green, blue) in enumerate(legend.colors.tolist()):
        painter.fillRect(left + column, top, 1, height, qt.QColor(red, green, blue))
    painter.setPen(qt.QColor(_INK))
    hidden = round(width * legend.hidden)
    if hidden:
        painter.fillRect(left, top, hidden, height, qt.QColor(_HIDDEN))
        painter.drawLine(left, top, left + hidden - 1, top + height - 1)
        painter.drawLine(left, top + height - 1, left + hidden - 1, top)
    for value, text in legend.marks:
        x = left + round((width - 1) * legend.place(value))
        painter.drawLine(x, top + height, x, top + height + _TICK - 1)
        painter.drawText(x - 20, top + height + _TICK, 40, 14, int(qt.Qt.AlignHCenter), text)
    if legend.limit is not None:
        x = left + round((width - 1) * legend.place(legend.limit))
        for color, first, last in ((_INK, 0, 10), (_PAPER, 2, 8)):  # which shows on every color
            for row in range(first, last):
                painter.fillRect(x - row + first, top + 4 + row, 2 * (row - first) + 1, 1, qt.QColor(color))
    painter.end()
    return picture
