"""Problems of other people: registered, or offered by an installed package, and then like ours."""

from __future__ import annotations

import argparse
import json
import shutil
import textwrap
from pathlib import Path

import pytest
import torch
from forked import python
from torch.distributions import Gamma, Independent

import monai_inn
from monai_inn import problems
from monai_inn.problems import InverseProblem, Observation, Parameter
from monai_inn.problems.registry import PROBLEMS, find
from monai_inn.registry import UnknownNameError, package_of
from monai_inn.testproblems.gaussian import LinearGaussian

SMALL = {
    "num_simulations": 3000, "posterior_steps": 20, "density_steps": 10, "preview_steps": 5,
    "preview_observations": 64, "held_out": 512, "guard": 200, "measured": 64, "batch_size": 256,
}  # fmt: skip
EXAMPLE = Path(monai_inn.__file__).parents[1] / "examples/decay_lab"
FIT = f"""
import monai_inn as mi
from monai_inn.training import Recipe
fitted = mi.fit(mi.problems.create("decay", last_s=2.0), recipe=Recipe(**{SMALL!r}), members=2)
fitted.save("bundle")
"""


@pytest.fixture
def clean_registry():
    before = dict(PROBLEMS.known)
    yield
    PROBLEMS.known = before


def install(site: Path, version: str = "1.2", module: str = "decay_lab") -> Path:
    """What pip would leave of a package that offers the problem."""
    info = site / f"{module}-{version}.dist-info"
    info.mkdir(parents=True)
    shutil.copytree(EXAMPLE / "decay_lab", site / module, ignore=shutil.ignore_patterns("__pycache__"))
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {module.replace('_', '-')}\nVersion: {version}\n"
    )
    (info / "entry_points.txt").write_text(
        f"[monai_inn.problems]\ndecay = {module}.problem:Decay\n[monai_inn.applications]\ndecay = {module}\n"
    )
    (info / "top_level.txt").write_text(f"{module}\n")
    (info / "RECORD").write_text(f"{module}/__init__.py,,\n")
    return site


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the installed package in ``site`` and a bundle of its problem."""
    folder = tmp_path_factory.mktemp("stranger")
    site = install(folder / "site")
    done = python(FIT, folder, site)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_example_offers_what_its_entry_point_says():
    text = (EXAMPLE / "pyproject.toml").read_text()
    assert '[project.entry-points."monai_inn.problems"]\ndecay = "decay_lab.problem:Decay"' in text
    assert '[project.entry-points."monai_inn.applications"]\ndecay = "decay_lab"' in text


def test_the_example_keeps_the_contract(installed):
    code = "from monai_inn import problems; problems.check_problem(problems.create('decay', last_s=2.0))"
    done = python(code, installed, installed / "site")
    assert done.returncode == 0, done.stderr


def test_a_package_is_listed_without_being_imported(installed):
    code = """
    import sys
    from monai_inn import problems
    assert "decay" in problems.names() and "decay_lab" not in sys.modules
    print(problems.create("decay", last_s=1.0).last_s, "decay_lab.problem" in sys.modules)
    """
    assert python(code, installed, installed / "site").stdout.split() == ["1.0", "True"]


def test_its_options_belong_to_its_own_help_alone(installed):
    code = """
    import sys
    from monai_inn.cli import main
    try:
        main(["fit", *sys.argv[1:], "--help"])
    except SystemExit:
        pass
    """
    own, other = (
        python(
            f"import sys; sys.argv = ['', {name!r}]\n" + textwrap.dedent(code), installed, installed / "site"
        )
        for name in ("decay", "oximetry")
    )
    assert "--last S" in own.stdout, own.stderr
    assert "--camera" not in own.stdout
    assert "--camera" in other.stdout
    assert "--ct" not in other.stdout


def test_its_bundle_loads_in_another_process_and_names_the_package(installed):
    metadata = json.loads((installed / "bundle/configs/metadata.json").read_text())
    assert metadata["monai_inn"]["card"]["package"] == {"name": "decay-lab", "version": "1.2"}
    code = """
    import monai_inn as mi
    fitted = mi.load("bundle")
    print(fitted.problem.last_s, fitted.warnings)
    print(fitted.maps(fitted.problem.simulate(6, 0)[1].T.reshape(3, 2, 3))["median"].shape)
    """
    done = python(code, installed, installed / "site")
    assert done.stdout.splitlines()[-1] == "torch.Size([1, 2, 3])", done.stderr
    assert done.stdout.startswith("2.0")


def test_a_bundle_of_a_missing_package_names_it(installed):
    done = python("import monai_inn as mi; mi.load('bundle')", installed)
    assert "needs the problem 'decay' of the package decay-lab 1.2" in done.stderr
    assert "pip install decay-lab" in done.stderr


def test_another_version_of_the_package_is_warned_of(installed, tmp_path):
    site = install(tmp_path, "2.0")
    done = python("import monai_inn as mi; print(mi.load('bundle').warnings)", installed, site)
    assert "decay-lab 1.2, and decay-lab 2.0 is installed" in done.stdout, done.stderr


def test_two_packages_of_one_name_are_told(installed, tmp_path):
    site = install(tmp_path, module="other_lab")
    code = "from monai_inn import problems; problems.create('decay')"
    done = python(code, installed, installed / "site", site)
    offers = "decay_lab.problem:Decay, other_lab.problem:Decay"
    assert f"two packages offer a problem 'decay': {offers}; uninstall one" in done.stderr


HALF_LIFE = ("half-life", "bundle", "-o", "out")


def command(arguments: list[str], *folders: Path) -> tuple[int, list[str], list[str]]:
    """Exit code, lines of output and of errors of a command in a folder, with further ones on its path."""
    code = f"""
    from monai_inn.cli import main
    try:
        code = main({arguments!r})
    except SystemExit as left:
        code = left.code
    print(code)
    """
    done = python(code, *folders)
    *lines, status = done.stdout.splitlines()
    return int(status), lines, done.stderr.splitlines()


def test_a_package_adds_a_verb_whose_result_the_viewer_shows(installed):
    site = installed / "site"
    status, lines, errors = command([*HALF_LIFE, "0.6", "0.35", "0.2"], installed, site)
    assert status == 0, errors
    # The levels are those of a rate of .5 /s at 2/3, 4/3 and 2 s, but for the noise: 1.39 s.
    record = json.loads((installed / "out/half_life.json").read_text())
    assert lines[0].startswith(f"Half-life {record['half_life_s']:.2f} s, 95 % between")
    assert record["interval_s"][0] < record["half_life_s"] < record["interval_s"][1]
    code = """
    from pathlib import Path
    from trame.app import get_server
    from monai_inn.viewer.serving import _opening
    opening = _opening(Path("out"))
    result = opening.read_result("out", None)
    server = get_server("decay", client_type="vue3")
    opening.open_result(server, result, "out")
    print(opening.__name__, server.state.line, sep=chr(10))
    """
    shown = python(code, installed, site)
    assert shown.stdout.splitlines()[:2] == ["decay_lab.page", lines[0]], shown.stderr


def test_an_error_of_that_verb_is_one_line(installed):
    status, _, errors = command([*HALF_LIFE, "0.6", "-1", "0.2"], installed, installed / "site")
    assert status == 2
    assert len(errors) == 1
    assert "a level is negative; give shares of the first level" in errors[0]


def test_a_package_that_cannot_be_imported_is_left_out_with_a_line(installed, tmp_path):
    site = install(tmp_path)
    (site / "decay_lab/__init__.py").write_text("import none_such\n")
    status, lines, errors = command(["bundles"], installed, site)
    assert status == 0
    assert lines
    (error,) = errors
    assert "decay = decay_lab of another package cannot be imported (ModuleNotFoundError: No module" in error


def test_a_verb_of_a_package_does_not_replace_ours(installed, tmp_path):
    site = install(tmp_path)
    path = site / "decay_lab/commands.py"
    path.write_text(path.read_text().replace('verb("half-life"', 'verb("infer"'))
    status, _, errors = command(["bundles"], installed, site)
    assert status == 2
    assert "decay_lab.commands adds the verb 'infer', which exists already" in errors[0]


def shifted(name: str = "shifted") -> type[InverseProblem]:
    """A class of this file, which no package offers."""

    class Shifted(LinearGaussian):
        pass

    Shifted.name = name
    return Shifted


def test_register_then_create_and_list(clean_registry):
    cls = problems.register(shifted())
    assert "shifted" in problems.names()
    assert isinstance(problems.create("shifted", num_parameters=2), cls)
    assert package_of(LinearGaussian) is not None
    problems.register(shifted())  # the same cell of a notebook, run again


@pytest.mark.parametrize("name", ["oximetry", "perfusion", "photoacoustics", "lightfield", "gaussian_mean"])
def test_a_name_alone_makes_the_problem_that_fit_trains_without_options(name):
    kind, parser = find(name), argparse.ArgumentParser()
    kind.add_options(parser)
    assert problems.create(name).identity == kind.from_options(parser.parse_args([])).identity


def test_what_a_problem_needs_is_said_with_the_call_that_gives_it():
    with pytest.raises(ValueError, match=r"needs images; in Python: .*create\('accelerated_mr', images=…\)"):
        problems.create("accelerated_mr")


def test_what_cannot_be_registered(clean_registry):
    with pytest.raises(ValueError, match="'linear_gaussian', which is the name of a problem of monai_inn"):
        problems.register(shifted("linear_gaussian"))
    with pytest.raises(TypeError, match="give a class derived from InverseProblem"):
        problems.register(int)
    with pytest.raises(TypeError, match="has no name"):
        problems.register(shifted(""))
    with pytest.raises(UnknownNameError, match=r"choose one of .*complex_roots"):
        problems.create("none_such")


def test_a_bundle_says_that_the_encoder_of_a_script_must_be_registered(monkeypatch, tmp_path):
    from monai_inn import load
    from monai_inn.networks import VectorEncoder, register
    from monai_inn.networks.parts import PARTS
    from monai_inn.training import Recipe, fit

    monkeypatch.setattr(PARTS, "known", dict(PARTS.known))

    @register
    class Mine(VectorEncoder):
        kind = "mine"

    brief = Recipe(2048, 2, 2, 2, 64, 64, measured=64, held_out=64, guard=64)
    fit(LinearGaussian(), encoder=Mine(3), recipe=brief, members=2).save(tmp_path / "b")
    del PARTS.known["mine"]
    with pytest.raises(UnknownNameError, match=r"'mine', which is not known here; import the module that"):
        load(tmp_path / "b")


def test_a_bundle_of_a_script_says_that_its_class_must_be_registered(clean_registry, gaussian_fit, tmp_path):
    from monai_inn.fitted import FittedPosterior

    problems.register(shifted())
    FittedPosterior(problems.create("shifted"), gaussian_fit.network, {}).save(tmp_path / "bundle")
    assert monai_inn.load(tmp_path / "bundle").problem.name == "shifted"
    del PROBLEMS.known["shifted"]
    with pytest.raises(ValueError, match=r"needs the problem 'shifted'.*defines and registers"):
        monai_inn.load(tmp_path / "bundle")


class Skewed(InverseProblem):
    """A problem whose prior is a distribution of torch, not that of its bounds."""

    name = "skewed"
    parameters = (Parameter("a", "1", 0.0, 50.0), Parameter("b", "1", 0.0, 50.0))
    observation = Observation.pixel("y")
    targets = ("a", "b")

    @property
    def prior(self):
        return Independent(Gamma(torch.tensor([3.0, 5.0]), torch.tensor([1.0, 2.0])), 1)

    def forward(self, theta):
        return theta.sum(-1, keepdim=True)

    def noise(self, y, generator=None):
        return y + torch.randn(y.shape, generator=generator)

    def to_config(self):
        return {}


def test_draws_come_from_the_prior_of_a_subclass():
    problem = Skewed()
    before = torch.get_rng_state()
    theta = problem.simulate(20_000, seed=1)[0].double()
    assert torch.equal(torch.get_rng_state(), before)
    mean, variance = torch.tensor([3.0, 2.5]), torch.tensor([3.0, 1.25])
    assert ((theta.mean(0) - mean).abs() < 5 * (variance / len(theta)).sqrt()).all()
    assert torch.equal(problem.simulate(3000, seed=1)[0], problem.simulate(5000, seed=1)[0][:3000])
    assert not torch.equal(problem.simulate(9, seed=1)[0], problem.simulate(9, seed=2)[0])
