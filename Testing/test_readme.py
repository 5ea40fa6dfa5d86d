"""What people read first: links lead somewhere, here and on a package index, and examples run."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import monai_inn

ROOT = Path(monai_inn.__file__).parents[1]
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")


def test_links_between_documents_lead_to_files():
    broken = [
        f"{page.relative_to(ROOT)}: {link}"
        for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
        for link in LINK.findall(page.read_text(encoding="utf-8"))
        if "://" not in link and not (page.parent / link).exists()
    ]
    assert not broken


def test_a_package_index_gets_absolute_links():
    shown = subprocess.run(
        [sys.executable, "setup.py", "--quiet", "--long-description"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert (
        len(LINK.findall(shown)) == len(LINK.findall((ROOT / "README.md").read_text(encoding="utf-8"))) > 10
    )
    for link in LINK.findall(shown):
        assert link.startswith("https://")
        inside = re.fullmatch(r"https://[^/]*github[^/]*/[^/]+/SlicerINN/(?:blob/)?HEAD/(.*)", link)
        assert inside is None or (ROOT / inside[1]).exists()


def test_extras_are_named_where_people_look_how_to_install():
    developers = {"peers", "benchmarks", "docs", "package", "dev"}
    extras = {*importlib.metadata.metadata("monai_inn").get_all("Provides-Extra")} - developers
    for page, elsewhere in (("README.md", {"cluster", "itk"}), ("docs/install.md", set())):
        lines = re.findall(r"pip install \"[^[]*\[(.*?)\]", (ROOT / page).read_text(encoding="utf-8"))
        assert extras - elsewhere <= {name for line in lines for name in line.split(",")}


def test_the_readme_says_on_how_many_simulations_the_shipped_bundles_were_measured():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    card = monai_inn.load("oximetry").card
    assert f"on {card['measured_on']['simulations']:,} fresh simulations" in " ".join(text.split())
