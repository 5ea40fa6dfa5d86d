"""The recipe of the container, as far as it can be checked without a container engine."""

from __future__ import annotations

import fnmatch
import shlex
import shutil
import subprocess
import sys
import zipfile

import pytest
from test_extras import PROJECT, ROOT

INSTRUCTIONS = {"ARG", "CMD", "COPY", "ENTRYPOINT", "FROM", "RUN", "USER", "WORKDIR"}


def instructions() -> list[tuple[str, str]]:
    """Instructions and what follows them, continued lines joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in joined]


def of(kind: str) -> list[str]:
    return [rest for name, rest in instructions() if name == kind]


def copied() -> list[tuple[list[str], str]]:
    """Sources and target of what comes from the checkout."""
    from_checkout = [shlex.split(rest) for rest in of("COPY") if not rest.startswith("--from")]
    return [(parts[:-1], parts[-1]) for parts in from_checkout]


def test_every_instruction_is_known_and_the_user_is_not_root():
    assert {name for name, _ in instructions()} <= INSTRUCTIONS
    assert of("USER") == ["1000"]
    assert any("useradd" in rest and "--uid 1000" in rest for rest in of("RUN"))
    assert instructions()[-3:] == [
        ("WORKDIR", "/data"), ("ENTRYPOINT", '["monai-inn"]'), ("CMD", '["--help"]')
    ]  # fmt: skip
    assert "monai-inn" in PROJECT["scripts"]


def test_what_is_copied_exists_and_is_not_ignored():
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    for sources, _ in copied():
        for source in sources:
            name = source.removeprefix("./")
            assert (ROOT / name).exists(), name
            assert f"!{name}" in rules, name
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    assert allowed == {s.removeprefix("./") for sources, _ in copied() for s in sources}
    assert any(fnmatch.fnmatch("monai_inn/__pycache__", rule) for rule in rules)


def test_extras_and_python_are_those_of_the_project():
    defaults = dict(rest.split("=", 1) for rest in of("ARG"))
    assert set(defaults["EXTRAS"].split(",")) <= set(PROJECT["optional-dependencies"])
    least = tuple(map(int, PROJECT["requires-python"].removeprefix(">=").split(".")))
    assert tuple(map(int, defaults["PYTHON"].split("."))) >= least
    assert defaults["TORCH"] == "cpu"
    torch = next(line for line in PROJECT["dependencies"] if line.startswith("torch>"))
    assert any(f'"{torch}"' in rest for rest in of("RUN"))


def test_what_is_copied_is_enough_to_build_the_package(tmp_path):
    pytest.importorskip("setuptools", "70.1", reason="builds wheels itself since 70.1")
    source = tmp_path / "source"
    source.mkdir()
    ignored = shutil.ignore_patterns("__pycache__")
    for sources, target in copied():
        for name in sources:
            place = source / target if (ROOT / name).is_dir() else source / name
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, place, **({"ignore": ignored} if copy is shutil.copytree else {}))
    command = ["-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), "."]
    subprocess.run([sys.executable, *command], cwd=source, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("monai_inn-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in (
        "monai_inn/cli.py",
        "monai_inn/bundles/pretrained/oximetry/models/model.safetensors",
        "monai_inn/examples/organ_mosaic.hdr",
        "monai_inn/viewer/display/maps/overlay.py",
    ):
        assert name in names
