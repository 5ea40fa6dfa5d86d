"""Whether codes of lesion images stand for size, place and contrast; what latents of oximetry mean.

    python benchmarks/disentanglement.py [--seeds 0,1,2] [--picture docs/images/latent.png]

Each image has one lesion of known size, place and contrast. Scores of principal and independent components,
β-VAEs and invertible autoencoders; traversals of their codes as a picture. For the bundle `oximetry` the
mutual information of the posterior's latents and the targets, given single measurements.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import monai_inn
from monai_inn.metrics.disentanglement import disentanglement
from monai_inn.networks.autoencoder import InvertibleAutoencoder
from monai_inn.reports.traversals import draw_traversals, most_informative, traversals
from monai_inn.seeding import seeded
from monai_inn.training.engine import Stage, run_stage
from monai_inn.training.objectives.autoencoding import fit_autoencoder

SIDE, CODES, BATCH, RATE = 16, 6, 128, 4e-3
FACTORS = {"size": (2.0, 4.0), "x": (5.0, 11.0), "y": (5.0, 11.0), "contrast": (0.4, 1.0)}
NOISE_SD = 0.05
ROWS = {"train": 4000, "held_out": 500, "test": 2000}
SCORES = (
    "mig",
    "disentanglement",
    "completeness",
    "informativeness",
    "sap",
    "factor_vae",
    "beta_vae",
    "modularity",
)


class Lesions(NamedTuple):
    """Images ``(N, 16, 16)`` and their factors ``(N, 4)``: radius, x, y in pixels, contrast."""

    images: Tensor
    factors: Tensor


def lesions(n: int, seed: int) -> Lesions:
    """Draw lesions whose factors are independent; one side is brighter, so that no two images are alike."""
    generator = torch.Generator().manual_seed(seed)
    low, high = torch.tensor(list(FACTORS.values())).T
    factors = low + (high - low) * torch.rand(n, len(FACTORS), generator=generator)
    noise = NOISE_SD * torch.randn(n, SIDE, SIDE, generator=generator)
    return Lesions(drawn(factors) + noise, factors)


def drawn(factors: Tensor) -> Tensor:
    """Images without noise of factors ``(N, 4)``."""
    size, x, y, contrast = factors[:, :, None, None].unbind(1)
    place = torch.arange(SIDE, dtype=factors.dtype)
    across, down = place[None, None] + 0.5 - x, place[None, :, None] + 0.5 - y
    edge = torch.sigmoid((size - (across.square() + down.square()).sqrt()) / 0.4)
    return contrast * edge * (1 + 0.3 * (across - 0.5 * down) / size)


class Vae(nn.Module):
    """Dense β-VAE whose pixels have Gaussian noise of learned level, as the invertible one's have."""

    def __init__(self, beta: float, width: int = 128) -> None:
        super().__init__()
        n = SIDE * SIDE
        self.beta = beta
        self.encoder = nn.Sequential(nn.Linear(n, width), nn.SiLU(), nn.Linear(width, 2 * CODES))
        self.decoder = nn.Sequential(nn.Linear(CODES, width), nn.SiLU(), nn.Linear(width, n))
        self.log_noise = nn.Parameter(torch.tensor(-3.0))

    def loss(self, images: Tensor, noise: Tensor) -> Tensor:
        """Negative bound over the pixels, with the weight of the divergence."""
        mean, log_sd = self.encoder(images.flatten(1)).chunk(2, 1)
        made = self.decoder(mean + log_sd.exp() * noise)
        squared = (made - images.flatten(1)).square().sum(1)
        fit = 0.5 * (made.shape[1] * self.log_noise + squared * torch.exp(-self.log_noise))
        cost = 0.5 * (mean.square() + (2 * log_sd).exp() - 1 - 2 * log_sd).sum(1)
        return (fit + self.beta * cost).mean() / made.shape[1]

    def encode(self, images: Tensor) -> Tensor:
        """Mean codes."""
        return self.encoder(images.flatten(1))[:, :CODES]  # type: ignore[no-any-return]

    def decode(self, code: Tensor) -> Tensor:
        """Images of codes."""
        return self.decoder(code).view(-1, SIDE, SIDE)  # type: ignore[no-any-return]


class Independent:
    """Independent components of scikit-learn, of the leading principal ones."""

    def __init__(self, images: Tensor, seed: int) -> None:
        from sklearn.decomposition import FastICA

        self.model = FastICA(CODES, whiten="unit-variance", random_state=seed).fit(images.flatten(1).numpy())

    def encode(self, images: Tensor) -> Tensor:
        """Components."""
        return torch.from_numpy(self.model.transform(images.flatten(1).numpy()))

    def decode(self, code: Tensor) -> Tensor:
        """Images of components."""
        made = self.model.inverse_transform(code.numpy())
        return torch.from_numpy(made).view(-1, SIDE, SIDE)


def vae(beta: float, train: Tensor, held_out: Tensor, steps: int, seed: int) -> Vae:
    with seeded(seed):
        net = Vae(beta)

    def batches(first: int, last: int) -> Iterator[tuple[Tensor, Tensor]]:
        for step in range(first, last):
            generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
            rows = torch.randint(len(train), (BATCH,), generator=generator)
            yield train[rows], torch.randn(BATCH, CODES, generator=generator)

    fixed = torch.randn(len(held_out), CODES, generator=torch.Generator().manual_seed(seed))
    stage = Stage("vae", net, batches, lambda b: net.loss(*b), lambda: net.loss(held_out, fixed), steps, RATE)
    run_stage(stage, resumed=None, save=lambda _: None, tell=lambda _: None)
    return net


def invertible(
    divergence: float | None, train: Tensor, held_out: Tensor, steps: int, seed: int
) -> InvertibleAutoencoder:
    net = InvertibleAutoencoder((SIDE, SIDE), CODES, 48, num_blocks=2, hidden_channels=(128,), seed=seed)
    options = {"steps": steps, "batch_size": BATCH, "rate": RATE, "seed": seed, "divergence": divergence}
    fit_autoencoder(net, train, held_out, **options)
    return net


def models(train: Tensor, held_out: Tensor, steps: int, seed: int) -> Iterator[tuple[str, Any]]:
    """What is compared, by name."""
    principal = InvertibleAutoencoder((SIDE, SIDE), CODES, num_blocks=0)
    principal.initialise(train)
    yield "principal components", principal
    yield "independent components", Independent(train, seed)
    for beta in (1.0, 4.0):
        yield f"β-VAE, β = {beta:.0f}", vae(beta, train, held_out, steps, seed)
    yield "invertible", invertible(None, train, held_out, steps, seed)
    for beta in (1.0, 4.0):
        yield f"invertible, β = {beta:.0f}", invertible(beta, train, held_out, steps, seed)


@torch.no_grad()
def measured(model: Any, test: Lesions, seed: int) -> tuple[dict[str, Any], Tensor]:
    """Scores, error of the decoded test images, and traversals ``(codes, steps, 16, 16)``, the best first."""
    codes = model.encode(test.images)
    found = disentanglement(codes, test.factors, resamplings=10, seed=seed)
    error = float((model.decode(codes) - test.images).square().mean())
    order = most_informative(found)
    images = traversals(model.decode, codes)[order]
    scores = {name: getattr(found, name)._asdict() for name in SCORES}
    names = list(FACTORS)
    table = found.information[order].div(torch.tensor(20.0).log())
    told = [{n: round(v, 2) for n, v in zip(names, row, strict=True)} for row in table.tolist()]
    return {"scores": scores, "error": error, "share of entropy": told}, images


@torch.no_grad()
def oximetry(observations: int = 8, n: int = 4000) -> dict[str, Any]:
    """Mutual information in nats of latents and targets given a measurement, mean over measurements."""
    fitted = monai_inn.load("oximetry")
    problem, network = fitted.problem, fitted.network
    targets = list(problem.targets)
    _, y = problem.simulate(observations, seed=1)
    condition = network.condition(problem.features(y))
    latent = torch.randn(n, 1, len(targets), generator=torch.Generator().manual_seed(0))
    pushed = network.flow(condition).leading(len(targets)).push(latent)
    tables, gaps = [], []
    for i in range(observations):
        found = disentanglement(latent[:, 0], pushed[:, i], resamplings=2)
        tables.append(found.information)
        gaps.append({name: round(getattr(found, name).value, 3) for name in ("mig", "disentanglement")})
    mean = torch.stack(tables).mean(0)
    return {
        "targets": targets,
        "nats of each latent": [[round(v, 2) for v in row] for row in mean.tolist()],
        "scores": gaps,
    }


def picture(rows: dict[str, tuple[dict[str, Any], Tensor]], path: Path) -> None:
    """Draw the traversals of four codes of each model."""
    from matplotlib.figure import Figure

    shown, columns = 4, 4
    figure = Figure(figsize=(10.4, 4.4), dpi=110, layout="constrained")
    panels = figure.subplots(-(-len(rows) // columns), columns).ravel()
    for axes in panels[len(rows) :]:
        axes.remove()
    for axes, (name, (figures, images)) in zip(panels, rows.items(), strict=False):
        labels = []
        for told in figures["share of entropy"][:shown]:
            best = max(told, key=told.__getitem__)
            labels.append(f"{best} {told[best]:.2f}")
        draw_traversals(axes, images[:shown], labels, (0.0, 1.2))
        axes.set_title(f"{name}\nMIG {figures['scores']['mig']['value']:.2f}", fontsize=9)
    figure.savefig(path)


def main() -> None:
    """Train, measure, draw, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--picture", type=Path, help="where the traversals of the first seed are drawn")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(json.dumps({"oximetry": oximetry()}), flush=True)
    train, held_out, test = (lesions(n, seed) for seed, n in enumerate(ROWS.values()))
    seeds = [int(seed) for seed in options.seeds.split(",")]
    for seed in seeds:
        found = {}
        for name, model in models(train.images, held_out.images, options.steps, seed):
            found[name] = measured(model, test, seed)
            print(json.dumps({"model": name, "seed": seed, **found[name][0]}), flush=True)
        if options.picture is not None and seed == seeds[0]:
            picture(found, options.picture)


if __name__ == "__main__":
    main()
