"""A page as PDF, printed by a browser that is there."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

__all__ = ["browser", "print_page"]

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
_SECONDS = 120


def browser() -> str:
    """Return the path of a browser of the Chromium family.

    Raises:
        ValueError: if there is none.
    """
    for name in _BROWSERS:
        if found := shutil.which(name):
            return found
    raise ValueError(
        f"no browser to print with was found (looked for {', '.join(_BROWSERS)}); install Chromium, or open "
        "the HTML page and print it from there."
    )


def print_page(page: Path, pdf: Path) -> None:
    """Write a page of ours, which needs nothing from outside, as PDF.

    Args:
        page: HTML file.
        pdf: file to write.

    Raises:
        ValueError: if there is no browser.
        OSError: if the browser does not print.
    """
    command = [browser(), "--headless", "--disable-gpu", "--no-pdf-header-footer", "--disable-extensions"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--no-sandbox")  # it refuses to run as root otherwise
    with TemporaryDirectory() as profile:
        command += [
            f"--user-data-dir={profile}",
            f"--print-to-pdf={pdf.absolute()}",
            page.absolute().as_uri(),
        ]
        try:
            ran = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
            problem = ran.stderr.strip().splitlines()[-1:] if ran.returncode or not pdf.is_file() else None
        except subprocess.TimeoutExpired:
            problem = [f"no answer in {_SECONDS} s"]
    if problem is not None:
        raise OSError(
            f"{command[0]} did not print {page.name} ({' '.join(problem)}); print it from a browser."
        )
