"""The documentation: the site builds without a warning, every page can be reached, tutorials run."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from forked import Forked

import monai_inn

ROOT = Path(monai_inn.__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(page.relative_to(DOCS) for page in DOCS.rglob("*.md") if "_build" not in page.parts)
TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))
MOST_WORDS = 3000


def test_site_builds_without_a_warning(tmp_path):
    """Links between pages, and to headings, are checked by this, and docstrings are read."""
    pytest.importorskip("furo")
    pytest.importorskip("myst_nb")
    build = pytest.importorskip("sphinx.cmd.build").main
    options = ["-q", "-W", "--keep-going", "-b", "dummy", "-D", "nb_execution_mode=off"]
    with Forked(lambda: sys.exit(build([*options, str(DOCS), str(tmp_path)]))) as process:
        _, said = process.communicate()
        assert process.wait() == 0, said[-3000:]


def test_links_to_the_repository_lead_to_its_files():
    conf = runpy.run_path(str(DOCS / "conf.py"))
    leading = re.compile(re.escape(f"]({conf['HOME']}/blob/main/") + "([^)#]*)")
    found = []
    for page in PAGES:
        source = [(DOCS / page).read_text(encoding="utf-8")]
        conf["link_to_repository"](None, page.with_suffix("").as_posix(), source)
        found += [f"{page}: {link}" for link in leading.findall(source[0]) if not (ROOT / link).exists()]
    assert found == []


def test_every_page_is_in_the_navigation_once():
    listed = []
    for page in PAGES:
        for tree in re.findall(
            r"```\{toctree\}\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL
        ):
            names = [line for line in tree.splitlines() if line and not line.startswith(":")]
            listed += [page.parent / f"{name}.md" for name in names]
    assert sorted([*listed, Path("index.md")]) == PAGES


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_pages_are_not_too_long_to_read(page):
    assert len((DOCS / page).read_text(encoding="utf-8").split()) <= MOST_WORDS


@pytest.mark.slow  # `make docs` runs all of them, too
@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial_runs_where_there_is_no_checkout(tutorial, tmp_path):
    cells = re.findall(r"```\{code-cell\}\n(.*?)```", tutorial.read_text(encoding="utf-8"), re.DOTALL)
    assert len(cells) > 2
    code = "\n".join(cells)
    (tmp_path / "cells.py").write_text(code, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "cells.py"], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]


def test_papers_have_a_section_each_that_says_what_is_missing():
    sections = re.split(r"^### ", (DOCS / "papers.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert len(sections) == 17
    for section in sections:
        for part in ("*Claims.*", "*Measured.*", "*Missing.*"):
            assert part in section, section.splitlines()[0]
