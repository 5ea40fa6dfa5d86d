"""The package as a whole: imports point one way, are lazy, and the public names stay."""

from __future__ import annotations

import ast
import doctest
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import monai_inn

ROOT = Path(monai_inn.__file__).parent
# A subpackage may import at module level from those on lines above its own, and from itself.
LAYERS = (
    {"drafts", "files", "lazy", "seeding"},
    {"folders", "reading"},
    {"physics"},
    {"problems"},
    {"networks"},
    {"metrics"},
    {"inferers", "transforms"},
    {"training"},
    {"bundles", "reports"},
    {"validation"},
    {"viewer"},
    {"plain", "verbs"},
    {"cli"},
    {"__main__", "__init__"},
)


def layer(name: str) -> int:
    return next(i for i, names in enumerate(LAYERS) if name in names)


def imports_at_module_level(path: Path) -> set[str]:
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            names = (
                [node.module] if node.module != "monai_inn" else [f"monai_inn.{a.name}" for a in node.names]
            )
            found.update(names)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    parts = {name.split(".")[1] for name in found if name.startswith("monai_inn.")}
    return {part for part in parts if (ROOT / part).is_dir() or (ROOT / f"{part}.py").is_file()}


def test_imports_point_one_way():
    wrong = []
    for path in ROOT.rglob("*.py"):
        own = path.relative_to(ROOT).parts[0].removesuffix(".py")
        for other in imports_at_module_level(path):
            if other != own and layer(other) >= layer(own) and not {own, other} <= {"bundles", "reports"}:
                wrong.append(f"{path.relative_to(ROOT)} imports {other}")
    assert not wrong


def test_heavy_packages_load_when_used():
    """One after the other in one process, that with the most still absent first."""
    absent = {
        "import monai_inn": ["torch", "monai", "matplotlib", "numba", "zarr", "scipy"],
        "import monai_inn.bundles.listing": ["torch", "monai", "scipy"],
        "import monai_inn.problems, monai_inn.networks": ["monai", "matplotlib", "numba", "zarr"],
        "monai_inn.metrics.waic": ["monai", "matplotlib"],
        "import monai_inn.training; monai_inn.training.fit": ["monai", "matplotlib"],
    }
    script = "import sys\n" + "".join(
        f"{code}\nprint({code!r}, 'loads', [name for name in {names} if name in sys.modules])\n"
        for code, names in absent.items()
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines() == [f"{code} loads []" for code in absent]


def test_public_names():
    assert set(monai_inn.__all__) == {"FittedPosterior", "__version__", "fit", "load"}
    assert set(monai_inn.problems.__all__) >= {
        "InverseProblem",
        "Oximetry",
        "Parameter",
        "ParameterSpace",
        "names",
    }
    assert set(monai_inn.networks.__all__) >= {"ConditionalFlow", "FlowEnsemble"}
    for name in (*monai_inn.__all__, *dir(monai_inn)):
        assert getattr(monai_inn, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = monai_inn.nothing


def modules() -> list[str]:
    paths = sorted(ROOT.rglob("*.py"))
    names = [".".join(("monai_inn", *p.relative_to(ROOT).with_suffix("").parts)) for p in paths]
    return [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]


@pytest.mark.parametrize("name", modules())
def test_examples_in_docstrings(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
