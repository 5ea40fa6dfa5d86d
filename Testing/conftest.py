"""Small networks that nobody trained, for everything that does not depend on the weights being good."""

from __future__ import annotations

import gc
import io
import os
import pickle
import random
import signal
import sys
from contextlib import redirect_stdout
from pathlib import Path

# Small layers run several times slower on threads that wait for one another, above all on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # for the few tests that ask for more of them

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from pose_problems import (  # now, for this folder is going to leave the path
    ExactPosterior,
    small_fit,
    symmetric_posterior,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from monai_inn.fitted import FittedPosterior
    from monai_inn.problems import InverseProblem

# How long an example takes says how busy the machine is.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

NUM_SCORES = 400
ONE_WORKER = ("Testing/archives", "Testing/cohorts", "Testing/web")
FLOWS = {"num_blocks": 2, "hidden_channels": (8,)}


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """The million objects of modules and tests stay to the end: the garbage collector need not visit them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 10, 10)
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One worker more than there are processors: tests wait a quarter of their time for other processes."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Folders whose files share a cluster, a browser or an archive go to one worker, others file by file."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            folder = str(Path(nodeid.partition("::")[0]).parent)
            return folder if folder in ONE_WORKER else super()._split_scope(nodeid)

    return ByFile(config, log)


def pytest_collection_finish() -> None:
    """Take this folder off the path: `slicer` imports every file of a folder of its own name there."""
    here = Path(__file__).parent
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != here]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """What a test draws without a generator of its own does not hang on the tests before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_is_heard() -> None:
    """A test run started in the background ignores Ctrl-C, and so would every process it starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def untrained(
    problem: InverseProblem, encoder: dict[str, Any] | None = None, members: int = 3, **flows: int
) -> FittedPosterior:
    """A network with random weights that depend on the observation, and honest scores of simulations."""
    from monai_inn.fitted import FittedPosterior
    from monai_inn.networks.posterior import assemble

    _, y = problem.simulate(NUM_SCORES, seed=1)
    features, density = problem.features(y), problem.density_features(y)
    targets, total = len(problem.targets), len(problem.parameters)
    groups = (targets, total - targets) if total > targets else (total,)
    network = assemble(
        features.shape[-1],
        density.shape[-1],
        groups,
        encoder={"out_channels": 8, "width": 16} | (encoder or {}),
        flow=FLOWS | flows,
        density=FLOWS | flows | {"members": members},
        num_ood_scores=NUM_SCORES,
    )
    network.fit_fixed(features, density, features)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in network.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=generator)
        fitted = FittedPosterior(problem, network, {})
        network.ood_scores.copy_(fitted.waic(y).sort().values)
    return fitted


@pytest.fixture(scope="session")
def fit_without_training() -> Callable[..., FittedPosterior]:
    """For problems of a test's own."""
    return untrained


@pytest.fixture(scope="session")
def camera_fit() -> FittedPosterior:
    from monai_inn.problems import Oximetry

    return untrained(Oximetry("imec_ssm4x4_470_620"))


@pytest.fixture(scope="session")
def smallest_camera_fit() -> FittedPosterior:
    """One block of each kind, for what takes time with every operation: exports.

    The posterior has affine couplings, which are recorded in a third less time; the density has splines.
    """
    from monai_inn.fitted import FittedPosterior
    from monai_inn.problems import Oximetry

    fitted = untrained(Oximetry("imec_ssm4x4_470_620"), members=2, num_blocks=1)
    config, before = fitted.network.config, fitted.network.state_dict()
    network = fitted.network.from_config(config | {"flow": config["flow"] | {"coupling": "affine"}})
    same = {n: before[n] for n, value in network.state_dict().items() if before[n].shape == value.shape}
    network.load_state_dict(same, strict=False)
    return FittedPosterior(fitted.problem, network, {})


@pytest.fixture(scope="session")
def gaussian_fit() -> FittedPosterior:
    from monai_inn.problems import LinearGaussian

    return untrained(LinearGaussian())


@pytest.fixture(scope="session")
def curve_fit() -> FittedPosterior:
    """Of curves of a tissue and an artery over time."""
    from monai_inn.applications.perfusion.problem import Perfusion

    problem = Perfusion()
    return untrained(problem, {**problem.encoder, "context": 1, "layers": 1})


def once_for_all_workers(tmp_path_factory, name: str, make: Callable[[Path], Any]) -> Any:
    """What `make` returns for a folder; the first worker calls it, and others that need it wait meanwhile."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return make(folder / name)
    import fcntl  # not on Windows, where one process runs the tests

    stored = folder.parent / f"{name}.pickle"
    with stored.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stored.exists():
            stored.write_bytes(pickle.dumps(make(folder.parent / name)))
        return pickle.loads(stored.read_bytes())


@pytest.fixture(scope="session")
def pose_fit(tmp_path_factory) -> FittedPosterior:
    return once_for_all_workers(tmp_path_factory, "pose_fit", lambda _: small_fit())


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> tuple[Path, str]:
    """Folder that `monai-inn demo` has written, and what it has said; maps have a quarter of their pixels."""
    from monai_inn.cli import main
    from monai_inn.reports import demo

    infer = demo.infer_image

    def infer_quarter(*files, shrink, **options):
        return infer(*files, shrink=2 * shrink, **options)

    def run(folder: Path) -> tuple[Path, str]:
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as said:
            patch.setattr(demo, "infer_image", infer_quarter)
            assert main(["demo", "-o", str(folder)]) == 0
        return folder, said.getvalue()

    return once_for_all_workers(tmp_path_factory, "demo", run)


@pytest.fixture(scope="session")
def symmetric() -> ExactPosterior:
    return symmetric_posterior()


@pytest.fixture(scope="session")
def ct_file(tmp_path_factory) -> Path:
    """The schematic spine in Hounsfield units, stored with flipped axes."""
    import nibabel

    from monai_inn.applications.registration.projection import spine_phantom

    volume = spine_phantom(spacing_mm=4.0)
    attenuation = volume.values.numpy()
    hounsfield = np.where(
        attenuation < 0.0192, 1000 * (attenuation / 0.0192 - 1), (attenuation - 0.0192) / 0.0381 * 1000
    )
    image = nibabel.Nifti1Image(hounsfield.round().astype(np.int16), volume.affine.numpy())
    path = tmp_path_factory.mktemp("ct") / "spine.nii.gz"
    nibabel.save(image.as_reoriented(np.array([[0, -1], [1, -1], [2, 1]])), path)
    return path


@pytest.fixture
def image(camera_fit: FittedPosterior):
    """An image of 16 bands, (16, 6, 7), whose pixels are simulations."""
    _, y = camera_fit.problem.simulate(6 * 7, seed=5)
    return y.T.reshape(-1, 6, 7).clone()


@pytest.fixture
def bundle(camera_fit: FittedPosterior, tmp_path: Path) -> Path:
    camera_fit.save(tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
def quick_picture(monkeypatch) -> None:
    """A dot in the place of the picture of maps, which takes longer to draw than small maps to compute."""
    from PIL import Image

    def dot(maps, image, path, *_):
        Image.new("L", (1, 1)).save(path)

    monkeypatch.setattr("monai_inn.reports.figures.map_figure", dot)


@pytest.fixture
def quick_drawings(monkeypatch) -> None:
    """Nothing in the place of a report's drawings, which take longer than the numbers that they show."""
    monkeypatch.setattr("monai_inn.validation.plots.svg", lambda figure: "<svg></svg>")


@pytest.fixture
def image_file(image, tmp_path: Path) -> Path:
    path = tmp_path / "tissue.npz"
    np.savez(path, image=image.numpy(), affine=np.diag([0.5, 0.25, 2.0, 1.0]))
    return path
