"""Running commands in the tests of the command line."""

from __future__ import annotations

from monai_inn.cli import main


def run(*arguments):
    return main([str(a) for a in arguments])


def refused(capsys, *arguments):
    """Run a command that must fail on its input and return its one line."""
    try:
        code = run(*arguments)
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    assert code == 2
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("monai-inn: ")
    return lines[0]
