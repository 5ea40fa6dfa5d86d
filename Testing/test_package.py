"""The package as a whole: imports point one way, are lazy, and the public names stay."""

from __future__ import annotations

import ast
import doctest
import functools
import graphlib
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import monai_inn
from monai_inn.problems.registry import ours

ROOT = Path(monai_inn.__file__).parent
# A room may import from those on lines above its own, and from itself; inside functions, too.
LAYERS = (
    {"spelling"},
    {"drafts", "files", "lazy", "registry", "seeding"},
    {"folders", "reading"},
    {"archives"},
    {"cohorts"},
    {"physics"},
    {"problems"},
    {"networks"},
    {"metrics"},
    {"inferers"},
    {"transforms"},
    {"fitted"},
    {"training"},
    {"bundles"},
    {"reports"},
    {"validation"},
    {"devices"},
    {"viewer"},
    {"arguments", "settings_file"},
    {"plain", "verbs"},
    {"answer_options", "learning_options"},
    {"parser"},
    {"cli"},
    {"__main__", "__init__", "worker"},
)
# No other room imports them: what they offer is looked up by name.
APART = {"applications", "testproblems"}
LOOKING_UP = {"monai_inn.applications.installed", "monai_inn.applications.offered"}


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def layer(name: str) -> int:
    return next(i for i, names in enumerate(LAYERS) if name in names)


def imported(path: Path) -> set[str]:
    """Names that a module imports anywhere but for its types, as ``monai_inn.room.name``."""
    found = set()
    body = [node for node in parsed(path).body if not is_for_types(node)]
    for node in (child for statement in body for child in ast.walk(statement)):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return {name for name in found if name.startswith("monai_inn.") and room(name)}


def is_for_types(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def room(name: str) -> str:
    """The room of a dotted name, empty if it is that of the whole package."""
    part = name.split(".")[1]
    return part if (ROOT / part).is_dir() or (ROOT / f"{part}.py").is_file() else ""


def own_room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def test_imports_point_one_way():
    wrong = []
    for path in ROOT.rglob("*.py"):
        own = own_room(path)
        for name in sorted(imported(path)):
            other = room(name)
            if other == own or own in APART or name in LOOKING_UP:
                continue
            if other in APART or layer(other) >= layer(own):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong


def test_test_problems_need_nothing_but_problems():
    rooms = {room(name) for path in (ROOT / "testproblems").rglob("*.py") for name in imported(path)}
    assert rooms <= {"problems", "physics", "testproblems", "seeding"}


def test_no_room_knows_the_name_of_a_problem():
    """What is particular to a problem is asked of its application; sentences of docstrings may name one."""
    particular = {name: place for name, place in ours().items() if name != "simulated"}
    named = re.compile(rf"\b({'|'.join(particular)})\b")
    classes = {place.partition(":")[2] for place in particular.values()}
    known = []
    for path in (path for path in ROOT.rglob("*.py") if own_room(path) not in APART):
        nodes = list(ast.walk(parsed(path)))
        sentences = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        for node in nodes:
            said = (
                isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in sentences
            )
            used = getattr(node, "id", getattr(node, "attr", None))
            if (said and named.search(node.value)) or used in classes:
                known.append(f"{path.relative_to(ROOT)}:{node.lineno} {ast.unparse(node)}")
    assert not known


def test_the_module_of_maps_names_no_problem():
    """INNRegistration is that of one problem; a self test may use a bundle that is shipped."""
    known = []
    for path in (ROOT.parent / "SlicerINN/INNUncertainty").glob("*Lib/**/*.py"):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Constant) and node.value in {*ours()} - {"registration"}:
                known.append(f"{path.name}:{node.lineno} {node.value}")
    assert not known


def test_examples_of_options_are_of_no_problem():
    """What a verb says to the users of every problem has no parameter of one of ours."""
    named = re.compile(r"\b(sao2|vhb|ktrans|ve|vp|cbv|mtt|lao|cra|disparity)=")
    known = []
    for path in (path for path in ROOT.rglob("*.py") if own_room(path) not in APART):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and named.search(node.value):
                known.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.value[:80]}")
    assert not known


def test_errors_of_the_extension_can_be_translated():
    """What is raised in 3D Slicer is shown there, in its language: no text of an error is a bare literal."""
    bare = []
    for path in (ROOT.parent / "SlicerINN").rglob("*.py"):
        for node in ast.walk(parsed(path)):
            text = (
                node.exc.args[0] if isinstance(node, ast.Raise) and getattr(node.exc, "args", None) else None
            )
            if isinstance(text, ast.JoinedStr) or (
                isinstance(text, ast.Constant) and isinstance(text.value, str)
            ):
                bare.append(f"{path.name}:{node.lineno}")
    assert not bare


def test_heavy_packages_load_when_used():
    """One after the other in one process, that with the most still absent first."""
    absent = {
        "import monai_inn": ["torch", "monai", "matplotlib", "numba", "zarr", "scipy"],
        "import monai_inn.fitted.metadata": ["torch", "monai", "scipy"],
        "import monai_inn.problems, monai_inn.networks": ["monai", "matplotlib", "numba", "zarr"],
        "monai_inn.metrics.waic": ["monai", "matplotlib"],
        "import monai_inn.training; monai_inn.training.fit": ["monai", "matplotlib"],
        "monai_inn.problems.PoseRegistration()": ["nanodrr"],
        "import monai_inn.reports.results, monai_inn.transforms.volumes": ["monai", "matplotlib"],
        "import monai_inn.reports.figures": ["matplotlib.pyplot"],
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
        "Observation",
        "Parameter",
        "ParameterSpace",
        "names",
    }
    assert set(monai_inn.networks.__all__) >= {"ConditionalFlow", "FlowEnsemble"}
    for name in (*monai_inn.__all__, *dir(monai_inn)):
        assert getattr(monai_inn, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = monai_inn.nothing


def named(path: Path) -> str:
    """The dotted name of a module."""
    return ".".join(("monai_inn", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


MODULES = {named(path): path for path in sorted(ROOT.rglob("*.py")) if path.stem != "__main__"}


def test_no_files_need_each_other_in_a_circle():
    needed = {}
    for name, path in MODULES.items():
        others = {n if n in MODULES else n.rpartition(".")[0] for n in imported(path)}
        needed[name] = {other for other in others if not name.startswith(f"{other}.")}  # not its own package
    graphlib.TopologicalSorter(needed).prepare()


def test_every_module_is_imported():
    for name in MODULES:
        importlib.import_module(name)


@pytest.mark.parametrize("name", [name for name, path in MODULES.items() if ">>>" in path.read_text()])
def test_examples_in_docstrings(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
