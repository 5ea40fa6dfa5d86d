"""Pages as PDF: by a browser that is there, and one clear line where there is none."""

from __future__ import annotations

import os
import re
import stat

import pytest

from monai_inn.reports import printing
from monai_inn.validation import write_report


def fake_browser(folder, script):
    program = folder / "chromium"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def test_the_browser_is_asked_for_the_page_without_head_and_foot(tmp_path, monkeypatch):
    fake_browser(
        tmp_path, 'for a in "$@"; do case "$a" in --print-to-pdf=*) echo "$@" > "${a#*=}";; esac; done'
    )
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    page = tmp_path / "a page.html"
    page.write_text("<p>")
    printing.print_page(page, tmp_path / "page.pdf")
    asked = (tmp_path / "page.pdf").read_text()
    assert "--no-pdf-header-footer" in asked
    assert page.absolute().as_uri() in asked


@pytest.mark.parametrize("script", ["exit 3", "echo out of order >&2; exit 0"])
def test_a_browser_that_does_not_print_is_named(script, tmp_path, monkeypatch):
    fake_browser(tmp_path, script)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    (tmp_path / "page.html").write_text("<p>")
    with pytest.raises(OSError, match=re.escape("did not print page.html")):
        printing.print_page(tmp_path / "page.html", tmp_path / "page.pdf")


def test_without_a_browser_nothing_is_begun(tmp_path, monkeypatch):
    monkeypatch.setattr(printing, "_BROWSERS", ("no-such-browser",))
    with pytest.raises(ValueError, match="install Chromium"):
        write_report(None, tmp_path / "report", title="t", is_printed=True)
    assert not (tmp_path / "report").exists()
