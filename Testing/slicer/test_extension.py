"""What 3D Slicer and its Extensions Index demand of an extension and cannot tell before it is installed.

The lists in CMake, what CMake hands to Slicer's macros, imports, the names of controls, and every name of
Slicer's API, which ``slicer_api.txt`` lists with the file that documents it.
"""

# ruff: noqa: E402 -- the parts of slicer exist only after install()

from __future__ import annotations

import ast
import importlib
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from shim import install, missing_package

if missing_package():
    pytest.skip(f"needs the pip package {missing_package()}", allow_module_level=True)
app = install()

import ctk
import DICOMLib
import qt
import SimpleITK
import slicer
import slicer.util
import vtk
from pydicom.datadict import tag_for_keyword

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NAMES = ["INNUncertainty", "INNRegistration"]
MODULES = {name: ROOT / "SlicerINN" / name for name in NAMES}
SOURCES_OF = {
    name: sorted(path for path in folder.rglob("*.py") if "Testing" not in path.parts)
    for name, folder in MODULES.items()
}
SOURCES = [path for paths in SOURCES_OF.values() for path in paths]
# INNRegistration stands on the libraries of INNUncertainty, never the other way round.
OWN = {
    "INNUncertainty": {"INNUncertainty", "INNUncertaintyLib", "INNDisplayLib"},
    "INNRegistration": {"INNRegistration", "INNRegistrationLib", "INNUncertaintyLib", "INNDisplayLib"},
}
SLICER = {"slicer", "vtk", "qt", "ctk", "DICOMLib"}
ALLOWED = {*sys.stdlib_module_names, *SLICER, "numpy", "scipy", "SimpleITK", "pydicom"}
# Slicer has them only where the extension of that name is installed.
ELSEWHERE = {"PyTorchUtils", "SampleData"}
# Files that functions import, and do without if a package is missing.
COMPILED = {"kernels": {"numba"}}
FIELDS = ("HOMEPAGE", "CATEGORY", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS")
# Controls that nobody reads or writes: headings, and a caption that never changes.
STATIC = {*NAMES, "compareBox", "inputsSection", "intendedUseLabel", "optionsSection"}


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def literal(field: str) -> str:
    """What the Extensions Index reads of a line of CMakeLists.txt: it does not run CMake."""
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    found = re.findall(rf'^set\(EXTENSION_{field} "([^"$]+)"\)$', text, re.MULTILINE)
    assert len(found) == 1, f"EXTENSION_{field} is not one literal string on one line"
    return found[0]


# CMake.


@pytest.fixture(scope="module")
def record(tmp_path_factory) -> dict[str, list[str]]:
    """What CMake hands to Slicer's macros, by kind."""
    cmake = shutil.which("cmake")
    if cmake is None:
        pytest.skip("needs CMake (Debian or pip package cmake)")
    build = tmp_path_factory.mktemp("build")
    compilers = [f"-DCMAKE_{name}_COMPILER={sys.executable}" for name in ("C", "CXX")]
    forced = [f"-DCMAKE_{name}_COMPILER_FORCED=1" for name in ("C", "CXX")]  # nothing is compiled
    command = [cmake, "-S", ROOT, "-B", build, f"-DSlicer_DIR={HERE / 'cmake'}", *compilers, *forced]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    found: dict[str, list[str]] = {}
    module = ""
    for line in (build / "slicer_record.txt").read_text(encoding="utf-8").splitlines():
        kind, _, value = line.partition(" ")
        module = value if kind == "module" else module
        own = f" of {module}" if kind in ("folder", "script", "resource") else ""
        found.setdefault(kind + own, []).append(value)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_cmake_installs_every_file_of_the_module(record, name):
    folder = MODULES[name]
    assert record[f"folder of {name}"] == [str(folder)]
    present = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file()
        and path.name != "CMakeLists.txt"
        and not {"Testing", "__pycache__"} & {*path.relative_to(folder).parts}
    }
    listed = Counter(record[f"script of {name}"] + record[f"resource of {name}"])
    assert set(listed) == present
    assert max(listed.values()) == 1
    assert {Path(script).suffix for script in record[f"script of {name}"]} == {".py"}


def test_cmake_adds_the_self_tests_and_packs(record):
    assert record["module"] == NAMES
    assert record["test"] == [f"{name}.py" for name in NAMES]
    assert record["included"] == ["GenerateConfig", "Pack"]
    for field in FIELDS:
        assert record[f"EXTENSION_{field}"] == [literal(field)]


def test_names_are_what_the_index_wants():
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    assert re.findall(r"^project\((\w+)\)$", text, re.MULTILINE) == ["INNUncertainty"]
    assert text.index("find_package(Slicer REQUIRED)") < text.index("include(${Slicer_USE_FILE})")
    assert "## NEXT_MODULE" in text
    assert literal("DEPENDS") == "PyTorch"
    assert "Research only" in literal("DESCRIPTION")
    assert (ROOT / "LICENSE").is_file()


def test_entry_of_the_index_says_what_cmake_says():
    entry = json.loads((ROOT / "SlicerINN" / "INNUncertainty.json").read_text(encoding="utf-8"))
    assert set(entry) == {
        "$schema", "build_dependencies", "build_subdirectory", "category", "scm_revision", "scm_url", "tier",
    }  # fmt: skip
    assert entry["category"] == literal("CATEGORY")
    assert entry["build_dependencies"] == literal("DEPENDS").split()
    assert entry["scm_url"] == f"{literal('HOMEPAGE')}.git"


def test_readme_names_every_module_and_the_publication():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.split("\n## In 3D Slicer")[1].split("\n## ")[0]
    assert "doi.org" in section
    parts = dict(part.split("\n", 1) for part in section.split("\n### ")[1:])
    assert list(parts) == ["INN Uncertainty", "INN Registration"]
    for part in parts.values():
        assert re.search(r"!\[.+\]\(docs/images/slicer_\w+\.png\)", part)


def test_addresses_of_pictures_point_to_files_of_the_repository():
    home = literal("HOMEPAGE")
    assert re.fullmatch(r"https://github\.com/[\w-]+/Slicer\w+", home)
    base = home.replace("github.com", "raw.githubusercontent.com") + "/main/"
    for address in [literal("ICONURL"), *literal("SCREENSHOTURLS").split()]:
        assert address.startswith(base)
        assert address.endswith(".png")
        assert (ROOT / address.removeprefix(base)).is_file()
    icon = qt.QImage(str(ROOT / literal("ICONURL").removeprefix(base)))
    assert (icon.width(), icon.height()) == (128, 128)


def test_index_and_module_name_the_same_category_and_people():
    source = (MODULES["INNUncertainty"] / "INNUncertainty.py").read_text(encoding="utf-8")
    assert f'"{literal("CATEGORY")}", about)' in source
    for name, folder in MODULES.items():
        assert "describe(parent, " in (folder / f"{name}.py").read_text(encoding="utf-8")
    shared = MODULES["INNUncertainty"] / "INNUncertaintyLib" / "panels" / "module.py"
    assert f'["{literal("CONTRIBUTORS")}"]' in shared.read_text(encoding="utf-8")


# Python.


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_files_import_only_what_slicer_has_and_run_nothing(path):
    tree = tree_of(path)
    allowed = ALLOWED | OWN[path.relative_to(ROOT / "SlicerINN").parts[0]]
    everywhere = {name.split(".")[0] for name in imports(tree)}
    at_import = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    of_file = COMPILED.get(path.stem, set())
    assert {name.split(".")[0] for node in at_import for name in imports(node)} <= allowed | of_file
    assert everywhere <= allowed | ELSEWHERE | of_file
    names = {alias.name for node in at_import if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert not names & COMPILED.keys(), "is imported where it is used, by whom numba is missing too"
    harmless = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
    for node in tree.body:
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        is_typing = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        is_import = isinstance(node, ast.Try) and all(
            isinstance(part, ast.Import | ast.ImportFrom | ast.Pass | ast.ExceptHandler)
            for part in (*node.body, *node.handlers, *node.orelse)
        )
        assert is_text or is_typing or is_import or isinstance(node, harmless), f"line {node.lineno} runs"
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            called = {ast.unparse(n.func) for n in ast.walk(node.value) if isinstance(n, ast.Call)}
            assert called <= {"np.array", "np.diag", "_TO_XYZ.sum", "RecordKind", "Worker"}, (
                f"line {node.lineno} calls something at import"
            )
    compile(tree, str(path), "exec")


def test_only_the_module_file_knows_qt():
    """The display library runs in the web viewer too, where there is no Qt."""
    for path in SOURCES:
        if "INNDisplayLib" in path.parts:
            assert not {"qt", "ctk"} & {name.split(".")[0] for name in imports(tree_of(path))}, path.name


def test_folders_of_the_display_library_import_one_way():
    order = ["numbers", "scene", "results", "poses", "classes", "plan", "maps"]
    library = MODULES["INNUncertainty"] / "INNDisplayLib"
    wrong = []
    for path in library.glob("*/*.py"):
        for node in tree_of(path).body:  # what is imported for types alone stands deeper
            other = str(node.module).split(".")[0] if isinstance(node, ast.ImportFrom) else ""
            if other in order and order.index(other) > order.index(path.parent.name):
                wrong.append(f"{path.relative_to(library)} imports {other}")
    assert wrong == []


@pytest.mark.parametrize("name", NAMES)
def test_module_has_its_four_classes(name):
    body = tree_of(MODULES[name] / f"{name}.py").body
    names = {node.name for node in body if isinstance(node, ast.ClassDef)}
    assert names == {f"{name}{part}" for part in ("", "Logic", "Test", "Widget")}


def test_module_that_needs_another_says_so():
    """Slicer then loads the other one first, and refuses to load this one without it."""
    source = (MODULES["INNRegistration"] / "INNRegistration.py").read_text(encoding="utf-8")
    assert 'parent.dependencies = ["INNUncertainty"]' in source


# Controls.


def form(name: str) -> ElementTree.Element:
    return ElementTree.parse(MODULES[name] / "Resources" / "UI" / f"{name}.ui").getroot()


def used_controls(name: str) -> set[str]:
    """Every NAME of ``self.ui.NAME`` and ``ui.NAME`` of a module and of what the panels of both share."""
    found = set()
    for path in {*SOURCES_OF[name], MODULES["INNUncertainty"] / "INNUncertaintyLib" / "panels" / "module.py"}:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("self.ui", "ui"):
                found.add(node.attr)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_controls_that_python_uses_exist(name):
    names = [widget.get("name") for widget in form(name).iter("widget")]
    assert len(names) == len(set(names))
    assert used_controls(name) <= set(names)


@pytest.mark.parametrize("name", NAMES)
def test_controls_that_exist_are_used(name):
    bound, loose = set(), set()
    for widget in form(name).iter("widget"):
        properties = {item.get("name") for item in widget.findall("property")}
        (bound if "SlicerParameterName" in properties else loose).add(widget.get("name"))
    captions = {control for control in loose if control.endswith("Caption")}
    assert loose - captions - STATIC <= used_controls(name)
    assert captions <= {f"{widget.get('name')}Caption" for widget in form(name).iter("widget")}


@pytest.mark.parametrize(
    ("name", "state"), [("INNUncertainty", "PanelState"), ("INNRegistration", "RegistrationState")]
)
def test_bound_controls_have_a_parameter(monkeypatch, name, state):
    monkeypatch.syspath_prepend(str(MODULES[name]))
    known = getattr(importlib.import_module(f"{name}Lib"), state).allParameters
    bound = [
        item.findtext("string")
        for item in form(name).iter("property")
        if item.get("name") == "SlicerParameterName"
    ]
    assert len(bound) == len(set(bound))
    assert set(bound) <= set(known)


@pytest.mark.parametrize("name", NAMES)
def test_every_selector_gets_the_scene(name):
    wired = {
        connection.findtext("receiver")
        for connection in form(name).iter("connection")
        if connection.findtext("signal") == "mrmlSceneChanged(vtkMRMLScene*)"
        and connection.findtext("slot") == "setMRMLScene(vtkMRMLScene*)"
    }
    top = form(name).find("widget").get("name")
    selectors = {w.get("name") for w in form(name).iter("widget") if w.get("class").startswith("qMRML")} - {
        top
    }
    assert wired == selectors
    assert {connection.findtext("sender") for connection in form(name).iter("connection")} == {top}


# Texts.


def shown_literals(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Words that reach people without passing ``_``."""
    shown = {
        "text",
        "toolTip",
        "html",
        "title",
        "windowTitle",
        "helpText",
        "acknowledgementText",
        "placeholderText",
    }
    for node in ast.walk(tree):
        values = []
        if isinstance(node, ast.Assign):
            targets = [t for whole in node.targets for t in getattr(whole, "elts", [whole])]
            if any(isinstance(t, ast.Attribute) and t.attr in shown for t in targets):
                values = [node.value]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            ("Display", "addItem", "setText")
        ):
            values = [*node.args, *(keyword.value for keyword in node.keywords)]
        elif isinstance(node, ast.Raise) and node.exc is not None:
            values = [node.exc]
        for value in values:
            yield from bare(value)


def bare(value: ast.AST) -> Iterator[tuple[int, str]]:
    if isinstance(value, ast.Call) and ast.unparse(value.func) in ("_", "translate"):
        return
    if (
        isinstance(value, ast.Constant)
        and isinstance(value.value, str)
        and re.search("[A-Za-z]{2}", value.value)
    ):
        yield value.lineno, value.value
    for child in ast.iter_child_nodes(value):
        yield from bare(child)


def test_bare_words_are_found():
    bad = (
        'ui.a.text = "Apply"',
        'ui.a.toolTip = x or "No"',
        'a.text, b = "Yes", 1',
        'ui.a.text = f"is {n}"',
        'slicer.util.errorDisplay("bad")',
        'raise ValueError("bad")',
    )
    for source in bad:
        assert [*shown_literals(ast.parse(source))], source
    for source in ('ui.a.text = _("Apply")', 'ui.a.text = ""', 'ui.a.text = _("{n}").format(n=str(k))'):
        assert not [*shown_literals(ast.parse(source))], source


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if "INNDisplayLib" not in p.parts], ids=lambda path: path.stem
)
def test_words_on_screen_can_be_translated(path):
    assert [*shown_literals(tree_of(path))] == []
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "_":
            (text,) = node.args
            assert isinstance(text, ast.Constant), (
                f"line {node.lineno}: only literals are found by the translators"
            )


# What the section Plan, the mean over a segment, comparisons, poses and damaged results say, warnings among
# it, and all that the panel of INN Registration says.
SPOKEN = (
    "classes/*", "maps/change", "maps/measuring", "numbers/decisions", "numbers/posteriors",
    "numbers/trajectories", "numbers/volumes", "plan/line*", "plan/regions", "plan/thresholds", "poses/*",
    "results/result", "results/run", "results/sequences",
)  # fmt: skip
SPEAKING = [
    p
    for p in SOURCES
    if any(p.match(f"INNDisplayLib/{part}.py") for part in SPOKEN) or MODULES["INNRegistration"] in p.parents
]
KEYS = {
    "4px double #ffffff", "2px dashed #1b1400", "; font-weight: bold; padding: 6px", "Binary labelmap",
    "Closed surface", "INN Registration", "INN difference", "aim ellipsoid", "aim tube", "line chart",
    "line table", "line tube", "monai-inn aim", "monai-inn classify", "monai-inn infer", "monai-inn register",
    "pose samples",
}  # fmt: skip


def sentences(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Texts of several words that do not pass ``_``; neither docstrings nor keys of the scene."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "_":
        return
    text = node.value if isinstance(node, ast.Constant) else None
    is_text = isinstance(text, str) and text not in KEYS and "<item>" not in text  # that is a layout
    if is_text and re.search(r"[A-Za-z]{2,}[,.:;]? [A-Za-z]{2,}", text):
        yield node.lineno, text
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)):
            yield from sentences(child)


@pytest.mark.parametrize("path", SPEAKING, ids=lambda path: path.stem)
def test_sentences_of_plans_and_poses_can_be_translated(path):
    assert [*sentences(tree_of(path))] == []


def test_bare_sentences_are_found():
    for source in ('x = f"{n} is bad"', 'raise ValueError("bad input")', 'f(x, y="not trusted")'):
        assert [*sentences(ast.parse(source))], source
    for source in ('"""A docstring."""', 'x = _("{n} is bad").format(n=n)', 'run.node("line tube", "")'):
        assert not [*sentences(ast.parse(source))], source


@pytest.mark.parametrize("name", NAMES)
def test_texts_of_the_form_can_be_translated(name):
    """Qt takes them into its tables unless they are marked."""
    strings = [*form(name).iter("string")]
    assert len(strings) > 30
    assert all(item.get("notr") in (None, "false") for item in strings)


def test_spelling_is_american():
    words = (
        r"\b(colour|centre|cancelled|grey|neighbour|per cent|behaviour|normalis|optimis|visualis|litre|metre)"
    )
    texts = [item.text or "" for name in NAMES for item in form(name).iter("string")]
    for path in SOURCES:
        texts += [
            n.value
            for n in ast.walk(tree_of(path))
            if isinstance(n, ast.Constant) and isinstance(n.value, str)
        ]
    prose = [text for text in texts if "_" not in text]  # keys of files are the package's, which is British
    assert [text for text in prose if re.search(words, text, re.IGNORECASE)] == []


# The API of Slicer.


def listed_names() -> dict[str, str]:
    """Names in ``slicer_api.txt`` and where each is documented."""
    lines = (HERE / "slicer_api.txt").read_text(encoding="utf-8").splitlines()
    rows = [line.split() for line in lines if line and not line.startswith("#")]
    assert all(len(row) == 2 for row in rows), "each line is a name and where it is documented"
    names = [name for name, _ in rows]
    assert names == sorted(set(names), key=str.lower), "sort the list, without repeating a name"
    return dict(rows)


def used_names() -> set[str]:
    """Every name of Slicer that the module uses: ``slicer.util.loadUI``, and of methods ``.GetName``.

    Methods of nodes and of VTK's objects begin with a capital, as nothing of Python's own does.
    """
    found: set[str] = set()
    for path in SOURCES:
        found |= used_in(tree_of(path))
    return found


def used_in(tree: ast.Module) -> set[str]:
    modules, own = {}, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {
                a.asname or a.name.split(".")[0]: a.name if a.asname else a.name.split(".")[0]
                for a in node.names
            }
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                modules[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        elif isinstance(node, ast.ClassDef):
            own |= {
                t.id for item in node.body for t in getattr(item, "targets", []) if isinstance(t, ast.Name)
            }
            own |= {item.target.id for item in node.body if isinstance(item, ast.AnnAssign)}
    found = {name for name in modules.values() if name.split(".")[0] in SLICER and "." in name}
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        root = ast.unparse(node).split(".")[0]
        dotted = re.fullmatch(r"[\w.]+", ast.unparse(node))
        if dotted and modules.get(root, root).split(".")[0] in SLICER:
            if id(node) not in inner:  # the whole of slicer.app.temporaryPath, and not its beginning
                found.add(ast.unparse(node).replace(root, modules.get(root, root), 1))
        elif re.match("[A-Z]", node.attr) and not (
            (dotted and (root in modules or root[0].isupper())) or node.attr in own or node.attr.isupper()
        ):
            found.add(f".{node.attr}")
    return {name for name in found if not name.endswith("__")}


def documented(name: str, listed: dict[str, str]) -> bool:
    """Whether a name is in the list, methods as those of some class, or a keyword of DICOM's dictionary."""
    if name.startswith(".") and tag_for_keyword(name[1:]) is not None:
        return True
    return any(entry.endswith(name) for entry in listed) if name.startswith(".") else name in listed


def test_every_name_of_slicer_is_listed_with_its_source():
    listed = listed_names()
    missing = sorted(name for name in used_names() if not documented(name, listed))
    assert not missing, f"look up and add to slicer_api.txt: {', '.join(missing)}"


def test_list_holds_nothing_that_is_not_used():
    used = used_names()
    methods = {name for name in used if name.startswith(".")}
    assert [
        name for name in listed_names() if name not in used and f".{name.rpartition('.')[2]}" not in methods
    ] == []


def test_listed_names_exist():
    """In slicer-core and VTK; the widgets, and what only the desktop application has, in their stand-ins."""
    missing = []
    for name in listed_names():
        roots = {"slicer": slicer, "vtk": vtk, "qt": qt, "ctk": ctk, "SimpleITK": SimpleITK}
        roots["DICOMLib"] = DICOMLib
        target: object = roots.get(name.split(".")[0])
        parts = name.split(".")[1:]
        if target is None:  # a method, as Class.Method
            target, parts = (slicer if hasattr(slicer, name.split(".")[0]) else vtk), name.split(".")
        for part in parts:
            target = getattr(target, part, None)
            if target is None:
                missing.append(name)
                break
    assert missing == []


def test_new_names_are_noticed():
    source = (
        "import slicer\nimport vtk\nfrom slicer.util import loadUI\nslicer.util.newThing(node.GetName())\n"
    )
    assert used_in(ast.parse(source)) == {"slicer.util.loadUI", "slicer.util.newThing", ".GetName"}
    assert not documented("slicer.util.newThing", listed_names())
    assert not documented(".NoSuchMethod", listed_names())
