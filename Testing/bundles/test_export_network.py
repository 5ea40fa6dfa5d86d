"""A network's graphs give what the package gives, in other runtimes and for any number of pixels."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import monai_inn as mi
from monai_inn import cli
from monai_inn.bundles import exporting
from monai_inn.bundles.exporting import export_network
from monai_inn.bundles.graph_checks import differences
from monai_inn.bundles.graph_files import recorded
from monai_inn.fitted import FittedPosterior
from monai_inn.inferers.modules import graphs
from monai_inn.networks.posterior import assemble
from monai_inn.problems import InverseProblem, LinearGaussian, Observation, Parameter
from monai_inn.validation.recalibration import recalibrate

for package in ("onnx", "onnxscript"):
    pytest.importorskip(package, reason=f"{package} is missing: install the extra `export`")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is missing: install the extra `export`")

SIZES = [(1, 1), (1, 6), (5, 1), (23, 12)]


def answers(path, *inputs):
    """What a runtime that knows nothing of this package gives."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    named = {x.name: value.numpy() for x, value in zip(session.get_inputs(), inputs, strict=True)}
    return [torch.from_numpy(value) for value in session.run(None, named)]


def assert_near(found, expected, share=1e-5):
    """Equal but for a share of one, or of the size of the number where that is larger."""
    torch.testing.assert_close(found, expected, rtol=share, atol=share, equal_nan=True)


@pytest.fixture(scope="module")
def programs():
    """What the export has loaded of its files, by name: loading again would take longer than to run it."""
    return {}


@pytest.fixture(scope="module")
def exported(smallest_camera_fit, programs, tmp_path_factory):
    """A camera's bundle and its export in both formats; `Compass` has splines of the posterior."""
    folder, written = tmp_path_factory.mktemp("export"), exporting.written
    smallest_camera_fit.save(folder / "bundle")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            exporting, "written", lambda path, *more: programs.setdefault(path.name, written(path, *more))
        )
        record = export_network(folder / "bundle", folder / "out", samples=12, seed=3)
    return mi.load(folder / "bundle"), folder / "out", record


def test_samples_with_the_written_latents_are_those_that_are_drawn_for_an_image(exported):
    fitted, out, _ = exported
    _, y = fitted.problem.simulate(6 * 7, seed=5)
    y[3] = 0.0
    drawn = torch.stack([s.as_tensor() for s in fitted.draw(y.T.reshape(-1, 6, 7), 12, seed=3)])
    latents = torch.from_numpy(np.load(out / "latents.npy"))
    found = answers(out / "sampler.onnx", y, latents)[0].movedim(-1, 1).reshape(drawn.shape)
    assert found[:, :, 0, 3].isnan().all()
    space = fitted.problem.space.subset(fitted.problem.targets)
    width = (space.high - space.low).float().view(1, -1, 1, 1)
    assert_near(found / width, drawn / width)


@pytest.mark.parametrize(("pixels", "samples"), SIZES)
def test_any_number_of_pixels_and_samples(exported, programs, pixels, samples):
    fitted, out, _ = exported
    theta, y = fitted.problem.simulate(pixels, seed=pixels)
    theta = theta[:, : len(fitted.problem.targets)].contiguous()
    latent = torch.randn(samples, theta.shape[1], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        q = fitted.target_posterior(y)
        expected = q.space.inverse(q.base.push(latent[:, None])), q.log_prob(theta), fitted.waic(y)
        largest_log_prob = float(fitted.density_log_prob(y).abs().max())
    width = (q.space.high - q.space.low).float()
    for found, density in (
        (programs["sampler.pt2"](y, latent), programs["log_prob.pt2"](y, theta)),
        (answers(out / "sampler.onnx", y, latent)[0], answers(out / "log_prob.onnx", y, theta)[0]),
    ):
        assert_near(found / width, expected[0] / width)
        assert_near(density, expected[1], 3e-5)
    # WAIC is a difference of log densities, to which its rounding is relative.
    assert_near(answers(out / "trust.onnx", y)[0], expected[2], 1e-5 * largest_log_prob)


def test_outside_the_bounds_the_density_is_zero_and_of_no_observation_unknown(exported):
    fitted, out, _ = exported
    theta, y = fitted.problem.simulate(3, seed=1)
    theta = theta[:, : len(fitted.problem.targets)].contiguous()
    theta[0, 0], y[1] = 1.5, torch.nan
    found = answers(out / "log_prob.onnx", y, theta)[0]
    assert found[0] == -torch.inf
    assert found[1].isnan()
    assert found[2].isfinite()


def test_trust_is_that_of_the_maps(exported):
    fitted, out, record = exported
    _, y = fitted.problem.simulate(50, seed=2)
    y[:25] = y[:25].flip(1)  # no tissue looks like that
    maps = fitted.trust(y.T.reshape(-1, 50, 1))
    waic, p_value = answers(out / "trust.onnx", y)
    # p-values are ranks among 400 held-out scores, and rounding may move a score past a few of them.
    torch.testing.assert_close(p_value, maps["p_value"].as_tensor().flatten(), rtol=0, atol=0.01)
    assert torch.equal(p_value <= 0.05, maps["ood"].as_tensor().flatten() == 1)
    threshold = record["trust"]["waic_thresholds"]["0.05"]
    assert threshold == fitted.guard.threshold(0.05)
    assert torch.equal(waic > threshold, fitted.guard.is_out(fitted.waic(y), 0.05))


def test_the_record_says_what_goes_in_and_comes_out(exported):
    fitted, out, record = exported
    assert json.loads((out / "network.json").read_text()) == record
    assert record["observation"]["channels"] == list(fitted.problem.observation.names)
    assert [p["name"] for p in record["parameters"]] == list(fitted.problem.targets)
    names = {"latents.npy"} | {f"{graph}.{kind}" for graph in record["graphs"] for kind in ("onnx", "pt2")}
    assert {entry["file"] for entry in record["files"]} == names
    for entry in record["files"]:
        content = (out / entry["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["sha256"]
        for module in (mi, torch):  # no folder of this machine
            assert str(Path(module.__file__).parent).encode() not in content
    for name, graph in record["graphs"].items():
        session = onnxruntime.InferenceSession(out / f"{name}.onnx")
        for described, tensors in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
            assert [(t["name"], t["axes"]) for t in graph[described]] == [(t.name, t.shape) for t in tensors]


def test_a_program_of_torch_export_runs_without_the_package(exported, monkeypatch):
    fitted, out, _ = exported
    _, y = fitted.problem.simulate(4, seed=7)
    expected = fitted.waic(y)
    for name in [name for name in sys.modules if name.partition(".")[0] == "monai_inn"]:
        monkeypatch.setitem(sys.modules, name, None)
    program = torch.export.load(out / "trust.pt2")
    found = program.module()(y)[0]
    called = {node.target for node in program.graph.nodes if node.op == "call_function"}
    # Nothing that a package may have registered with torch.
    assert {op.namespace for op in called if isinstance(op, torch._ops.OpOverload)} == {"aten"}
    assert not found.requires_grad
    assert_near(found, expected, 1e-4)


class Compass(InverseProblem):
    """One parameter of every kind; the observation is what a noisy compass and three scales would show."""

    name = "compass_for_export"
    parameters = (
        Parameter("heading", "deg", -180.0, 180.0, is_periodic=True),
        Parameter("finding", "1", 0.0, 3.0, categories=("none", "benign", "malignant")),
        Parameter("size", "mm", 0.1, 10.0, scale="log"),
        Parameter("share", "1", 0.0, 1.0, scale="square"),
        Parameter("time", "s", 0.01, 100.0, scale="lognormal", mean=0.0, sd=0.8),
        Parameter("delay", "s", 1.0, float("inf"), scale="above", mean=0.0, sd=0.5),
        Parameter("offset", "mm", -float("inf"), float("inf"), mean=1.0, sd=2.0),
    )
    observation = Observation.pixel("east", "north", "weight")
    targets = tuple(p.name for p in parameters)

    def forward(self, theta):
        turn = torch.deg2rad(theta[..., 0])
        weight = theta[..., 1:].clamp(-50, 50).sum(-1) / 20
        return torch.stack([turn.cos(), turn.sin(), weight], -1)

    def noise(self, y, generator=None):
        return y + 0.1 * torch.randn(y.shape, generator=generator, dtype=y.dtype)

    def to_config(self):
        return {}


class NumPyCompass(Compass):
    """The same with features that torch cannot record."""

    name = "numpy_compass_for_export"

    def features(self, y):
        return torch.from_numpy(np.tanh(y.numpy()))


class ChoosingCompass(Compass):
    """The same with features that ask for a value."""

    name = "choosing_compass_for_export"

    def features(self, y):
        return y if float(y.nan_to_num().abs().max()) > 0.1 else 2 * y


class Bessel(LinearGaussian):
    """Features that torch records and ONNX has no operation for."""

    name = "bessel_for_export"

    def features(self, y):
        return torch.special.bessel_j0(y)


@pytest.fixture
def registered():
    for cls in (Compass, NumPyCompass, ChoosingCompass, Bessel):
        mi.problems.register(cls)


def bundle_of(problem, folder, **flow):
    """A bundle with random weights, of which the maps mean nothing but every part is used."""
    _, y = problem.simulate(400, seed=1)
    kinds = {
        "periodic": [i for i, p in enumerate(problem.parameters) if p.is_periodic],
        "categories": [(i, len(p.categories)) for i, p in enumerate(problem.parameters) if p.categories],
    }
    network = assemble(
        problem.features(y).shape[-1], y.shape[-1], (len(problem.parameters),), **kinds,
        encoder={"out_channels": 8, "width": 16},
        flow={"num_blocks": 1, "hidden_channels": (8,), **flow},
        density={"num_blocks": 1, "hidden_channels": (8,), "members": 2},
        explanation={"num_explained": problem.explained_features(y).shape[-1], "num_ordinary": 400},
        num_ood_scores=400,
    )  # fmt: skip
    network.fit_fixed(problem.features(y), problem.density_features(y), problem.features(y))
    fitted = FittedPosterior(problem, network, {})
    network.ood_scores.copy_(fitted.waic(y).sort().values)
    fitted.save(folder)
    return folder


def only(monkeypatch, *names):
    """Leave other graphs out, for the time that recording takes."""
    monkeypatch.setattr(graphs, "GRAPHS", {name: graphs.GRAPHS[name] for name in names})


def largest(record, kind="onnx"):
    """Differences of files of a format that the export measured, by output."""
    graphs = record["graphs"].values()
    return {name: off for g in graphs for name, off in g["largest_difference"][kind].items()}


@pytest.mark.parametrize(
    ("graph", "output", "kind"),
    [
        ("sampler", "samples", None),  # as it was recorded
        pytest.param("sampler", "samples", "pt2", marks=pytest.mark.slow),
        pytest.param("sampler", "samples", "onnx", marks=pytest.mark.slow),
        pytest.param("log_prob", "log_prob", "onnx", marks=pytest.mark.slow),
    ],
)
def test_every_kind_of_parameter(registered, tmp_path, monkeypatch, graph, output, kind):
    only(monkeypatch, graph)
    bundle = bundle_of(Compass(), tmp_path / "b")
    if kind is None:
        asked = graphs.GRAPHS[graph](mi.load(bundle)).eval()
        off = differences(asked, recorded(asked).module())
    else:
        off = largest(export_network(bundle, tmp_path / "o", formats=[kind]), kind)
    assert off[output] < 1e-5


@pytest.mark.slow  # an export compares each of its files with the network anyway
def test_affine_couplings_and_a_recalibrated_base(tmp_path, monkeypatch):
    only(monkeypatch, "sampler", "log_prob")
    fitted = recalibrate(mi.load(bundle_of(LinearGaussian(), tmp_path / "before", coupling="affine")), 250)
    assert fitted.network.base is not None
    fitted.save(tmp_path / "after")
    off = largest(export_network(tmp_path / "after", tmp_path / "out", formats=["onnx"]))
    assert off["samples"] < 1e-5
    assert off["log_prob"] < 1e-5


def test_in_double_precision_file_and_network_agree(exported, tmp_path, monkeypatch):
    only(monkeypatch, "sampler")
    bundle, out = exported[1].parent / "bundle", tmp_path / "out"
    assert cli.main(["export-network", str(bundle), "-o", str(out), "--format", "onnx", "--double"]) == 0
    record = json.loads((out / "network.json").read_text())
    assert record["graphs"]["sampler"]["computes_in"] == "float64"
    graph = graphs.GRAPHS["sampler"](mi.load(bundle)).eval().double()
    _, y = graph.problem.simulate(40, seed=8)
    latents = torch.from_numpy(np.load(out / "latents.npy"))
    found, expected = answers(out / "sampler.onnx", y, latents)[0], graph(y, latents)
    assert found.dtype == expected.dtype == torch.float32
    width = (graph.space.high - graph.space.low).float()
    assert_near(found / width, expected / width)


def refused(capsys, out, *arguments):
    """The one line of a command that must leave nothing."""
    assert cli.main(["export-network", *map(str, arguments), "-o", str(out)]) == 2
    assert not out.exists()
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    return line


@pytest.mark.parametrize("kind", [NumPyCompass, ChoosingCompass])
def test_features_that_torch_cannot_record_are_named(registered, tmp_path, capsys, kind):
    line = refused(capsys, tmp_path / "out", bundle_of(kind(), tmp_path / "b"))
    assert f"{kind.name!r} cannot be exported" in line
    assert "its features and is_valid must consist of operations of torch" in line


def test_an_operation_that_a_format_lacks_is_named(registered, tmp_path, capsys, monkeypatch):
    only(monkeypatch, "log_prob")
    line = refused(capsys, tmp_path / "out", bundle_of(Bessel(), tmp_path / "b", coupling="affine"))
    assert "log_prob.onnx cannot be made" in line
    assert "bessel_j0" in line
    assert "Try another --format" in line


def test_whole_images_are_refused(tmp_path, capsys):
    assert "takes a whole image at a time" in refused(capsys, tmp_path / "out", "lumbar_spine")


def test_a_missing_package_is_named_with_its_extra(exported, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    line = refused(capsys, tmp_path / "out", exported[1].parent / "bundle")
    assert 'pip install "monai_inn[export]"' in line
    assert "--format pt2" in line


def test_a_folder_that_cannot_be_written_is_said_before_the_work(exported, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(exporting, "load", lambda _: pytest.fail("loaded"))
    (tmp_path / "file").write_text("mine")
    line = refused(capsys, tmp_path / "file" / "out", exported[1].parent / "bundle")
    assert "cannot be written" in line
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    assert cli.main(["export-network", str(exported[1].parent / "bundle"), "-o", str(tmp_path / "full")]) == 2
    assert "exists and is not an exported network" in capsys.readouterr().err


def test_a_graph_that_gives_something_else_is_not_written(tmp_path, capsys, monkeypatch):
    only(monkeypatch, "log_prob")
    density = graphs.Density.forward

    def lying(self, observation, parameters):
        return density(self, observation, parameters) + 0.1 * torch.compiler.is_exporting()

    monkeypatch.setattr(graphs.Density, "forward", lying)
    bundle = bundle_of(LinearGaussian(), tmp_path / "b", coupling="affine")
    line = refused(capsys, tmp_path / "out", bundle, "--format", "pt2")
    assert "log_prob.pt2 does not give what the network does" in line


def test_the_command_says_what_it_wrote_and_replaces_an_older_export(tmp_path, capsys, monkeypatch):
    only(monkeypatch, "log_prob")
    folder = bundle_of(LinearGaussian(), tmp_path / "b", coupling="affine")
    command = [
        "export-network",
        str(folder),
        "-o",
        str(tmp_path / "out"),
        "--format",
        "pt2",
        "--latents",
        "5",
    ]
    (tmp_path / "out").mkdir()
    (tmp_path / "out/network.json").write_text('{"files": [{"file": "sampler.onnx"}]}')
    (tmp_path / "out/sampler.onnx").write_text("older")
    assert cli.main(command) == 0
    assert "log_prob: observation, parameters → log_prob; off by at most log_prob" in capsys.readouterr().out
    names = {"network.json", "latents.npy", "log_prob.pt2"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    assert np.load(tmp_path / "out/latents.npy").shape == (5, 4)
