"""Rigid alignment of two volumes, with the vertebral levels that fit and their masses."""

COMMANDS = f"{__name__}.commands"
