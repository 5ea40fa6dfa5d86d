"""What an extra installs is enough for what it is for; checked as if nothing else were installed."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import monai_inn

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(monai_inn.__file__).parents[1]
POSIX = ("fcntl",)  # what Windows does not have, and no package asks for on Linux
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def brought(*extras: str, beside: tuple[str, ...] = ()) -> set[str]:
    """Distributions that ``pip install "monai_inn[extras]" beside`` brings, with what those need in turn."""
    open_, found = [Requirement(f"monai_inn[{','.join(extras)}]"), *map(Requirement, beside)], set()
    seen = set()
    while open_:
        wanted = open_.pop()
        name = canonicalize_name(wanted.name)
        if (name, frozenset(wanted.extras)) in seen:
            continue
        seen.add((name, frozenset(wanted.extras)))
        if name == "monai-inn":
            lines = list(PROJECT["dependencies"])
            lines += [line for e in wanted.extras for line in PROJECT["optional-dependencies"][e]]
            open_ += map(Requirement, lines)
            continue
        found.add(name)
        try:
            lines = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # not for this machine
        for line in map(Requirement, lines):
            if line.marker is None or any(line.marker.evaluate({"extra": e}) for e in (*wanted.extras, "")):
                open_.append(line)
    return found


def run_with(
    extras: tuple[str, ...], commands: list[list[str]], folder: Path, *, beside: tuple[str, ...] = (),
    hidden: tuple[str, ...] = (),
) -> subprocess.CompletedProcess:  # fmt: skip
    """Run modules one after the other in a process that sees only the packages of some extras."""
    allowed = brought(*extras, beside=beside) | {"monai-inn"}
    unseen = set(hidden) | {
        module
        for module, owners in importlib.metadata.packages_distributions().items()
        if not {canonicalize_name(owner) for owner in owners} & allowed
    }
    script = (
        "import importlib.abc, runpy, sys\n"
        f"hidden = {sorted(unseen)!r}\n"
        "class Hider(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in hidden:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Hider())\n"
        f"for arguments in {commands!r}:\n"
        "    sys.argv = arguments\n"
        "    runpy.run_module(arguments[0], run_name='__main__', alter_sys=True)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # they need packages that are hidden
    return subprocess.run(
        [sys.executable, "-c", script], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_every_extra_names_distinct_packages_and_is_documented():
    documented = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    for extra, lines in PROJECT["optional-dependencies"].items():
        names = [canonicalize_name(Requirement(line).name) for line in lines]
        assert len(names) == len(set(names))
        assert f"## Extra `{extra}`" in documented


def test_monai_runs_a_bundle_with_the_extra_bundle_alone(bundle, image_file, tmp_path):
    meta = ["--meta_file", "configs/metadata.json"]
    options = {
        "inference": [*meta, "--dataset_dir", str(image_file), "--samples", "4"],
        "evaluate": ["--evaluator#cases", "50"],
    }
    run, where = ["monai.bundle", "run", "--bundle_root", "."], ["--output_dir", str(tmp_path / "out")]
    commands = [
        [*run, "--config_file", f"configs/{config}.json", *own, *where] for config, own in options.items()
    ]
    ran = run_with(("bundle",), commands, bundle)
    assert ran.returncode == 0, ran.stderr[-2000:]
    for made in ("*_maps.nii.gz", "evaluation.json"):
        assert any((tmp_path / "out").rglob(made)), made


@pytest.mark.slow  # the workflows find out, too, but only after a push
def test_the_suite_is_collected_with_what_each_workflow_installs():
    steps = (ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8")
    extras = set(re.findall(r'"\.\[([\w,]+)\]" "?pytest', steps))
    folders = sorted(set(re.findall(r"Testing/\w+", steps)))
    assert extras
    assert folders
    for brought_by in extras:
        ran = run_with(
            tuple(brought_by.split(",")),
            [["pytest", "--collect-only", "-q", "-p", "pytest_timeout", "-p", "no:cacheprovider", *folders]],
            ROOT,
            beside=("hypothesis", "pytest", "pytest-timeout"),
            hidden=POSIX,
        )
        assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
