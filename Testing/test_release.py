"""What a release says of itself: one version, one address, files where GitHub and an index look for them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import yaml

import monai_inn

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(monai_inn.__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def test_the_version_is_written_alike_everywhere():
    assert PROJECT["version"] == monai_inn.__version__ == CITATION["version"]


def test_addresses_are_those_of_the_repository():
    cmake = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    home = re.search(r'EXTENSION_HOMEPAGE "(.*)"', cmake)[1]
    assert CITATION["repository-code"] == PROJECT["urls"]["Homepage"] == PROJECT["urls"]["Source"] == home
    owner, name = home.split("/")[-2:]
    assert PROJECT["urls"]["Documentation"] == f"https://{owner}.github.io/{name}"


def test_licence_files_are_there():
    for name in PROJECT["license-files"]:
        assert (ROOT / name).is_file()


def test_files_of_the_community_are_where_github_looks():
    for name in ("SECURITY.md", "CODE_OF_CONDUCT.md", "PULL_REQUEST_TEMPLATE.md", "ISSUE_TEMPLATE/bug.yml"):
        assert (ROOT / ".github" / name).is_file()
    assert (ROOT / "docs/contributing.md").is_file()


def test_workflows_run_what_the_makefile_has():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    steps = "\n".join(path.read_text(encoding="utf-8") for path in WORKFLOWS)
    for path in WORKFLOWS:
        assert yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"], path.name
    asked = set(re.findall(r"run: make (\w+)", steps))
    assert asked >= {"test", "docs", "links", "package"}
    for target in asked:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for folder in re.findall(r"(Testing/\w+)", steps):
        assert (ROOT / folder).is_dir(), folder


def test_no_password_is_needed_to_publish():
    release = (ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8")
    assert "id-token: write" in release
    assert "secrets." not in release


def test_tests_and_documentation_are_in_the_source_distribution():
    lines = (ROOT / "MANIFEST.in").read_text(encoding="utf-8").splitlines()
    grafted = [line.split()[1] for line in lines if line.startswith("graft ")]
    assert {"Testing", "docs", "examples"} <= set(grafted)
    files = [name for line in lines if line.startswith("include ") for name in line.split()[1:]]
    for name in (*grafted, *files):
        assert (ROOT / name).exists(), name
