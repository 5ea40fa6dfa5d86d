"""One network for several sites: our invariance beside plain training, IRM, group DRO and CORAL.

    python benchmarks/invariance.py xrays pneumonia_xray_28.npz -o OUT.json
    python benchmarks/invariance.py cameras -o OUT.json

`xrays`: a simulated scanner changes gain, blur and noise of chest X-rays, and at the sites of the training
its setting goes with the finding. Weights are chosen on one site, and the result comes from another.
`cameras`: the bands of six cameras of a kind have drifted since their calibration; a seventh chooses the
weight, and others measure the error of oxygen saturation. Results are written after each seed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, laplace
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

import monai_inn as mi
from monai_inn.training import Recipe

SEEDS, TUNING_SEED = range(5), 100
AGREEMENT = (0.95, 0.75, 0.55)  # of the scanner's setting and the finding, at the sites of the training
TUNING, UNSEEN = 0.4, 0.1  # at the site that chooses weights, and at that of the result
STEPS, BATCH, WIDTH = 300, 256, 32
NETWORK = {
    "encoder": {"width": WIDTH, "num_blocks": 1, "out_channels": 8},
    "flow": {"num_blocks": 1, "hidden_channels": (32,), "coupling": "affine"},
}
RECIPE = Recipe(posterior_steps=STEPS, density_steps=1, explanation_steps=1, preview_steps=1,
                preview_observations=64, batch_size=BATCH, guard=100, measured=150)  # fmt: skip
WEIGHTS = {"IRM": (1, 10, 100), "group DRO": (0.01, 0.1, 1), "CORAL": (0.1, 1, 10), "ours": (200, 2000)}

Site = tuple[Tensor, Tensor, Tensor]
"""Features, findings and sites of images."""


def scanned(images: np.ndarray, label: np.ndarray, agreement: float, rng: np.random.Generator) -> np.ndarray:
    """Images as a scanner takes them: bright, blurred and noisy, as often with the finding as is said."""
    is_bright = np.where(rng.random(len(label)) < agreement, label, 1 - label)[:, None, None] == 1
    gain = np.where(is_bright, 1.25, 0.85) * np.exp(0.08 * rng.standard_normal((len(label), 1, 1)))
    seen = gain * np.where(is_bright, gaussian_filter(images, (0, 0.7, 0.7)), images)
    return seen + np.where(is_bright, 0.03, 0.015) * rng.standard_normal(images.shape)


def features(images: np.ndarray) -> np.ndarray:
    """Shares of brightness in 48 of 7 × 7 blocks, logarithms of brightness and sharpness, ``(n, 50)``."""
    blocks = images.reshape(-1, 7, 4, 7, 4).mean((2, 4)).reshape(len(images), -1)
    brightness = blocks.mean(1, keepdims=True)
    sharpness = laplace(images / brightness[:, :, None])[:, 2:-2, 2:-2].std((1, 2))[:, None]
    columns = [blocks[:, 1:] / brightness, np.log(brightness), np.log(sharpness)]
    return np.concatenate(columns, 1).astype(np.float32)


def xray_sites(path: str, seed: int, agreement: Sequence[float] = AGREEMENT) -> dict[str, Site]:
    """The sites of the training together, that of the tuning, and the unseen one; no image is at two.

    Images of the tuning site are the same under every seed: those that chose weights measure nothing else.
    """
    with np.load(path) as file:
        images = np.concatenate([file["train_images"], file["val_images"]]) / 255.0
        label = np.concatenate([file["train_labels"], file["val_labels"]]).reshape(-1).astype(np.int64)
    kept = np.random.default_rng(TUNING_SEED)
    few = min(np.bincount(label))  # as many of both findings
    rows = kept.permutation([k for c in (0, 1) for k in kept.permutation(np.flatnonzero(label == c))[:few]])
    tuning, rest = np.split(rows, [len(rows) // (len(AGREEMENT) + 2)])
    rng = np.random.default_rng(seed)
    *training, unseen = np.array_split(rng.permutation(rest), len(AGREEMENT) + 1)
    sites = []
    for number, (own, share) in enumerate(
        zip((*training, tuning, unseen), (*agreement, TUNING, UNSEEN), strict=True)
    ):
        x = torch.as_tensor(features(scanned(images[own], label[own], share, rng)))
        sites.append((x, torch.as_tensor(label[own]), torch.full((len(own),), number)))
    order = torch.randperm(
        sum(len(site[0]) for site in sites[:-2]), generator=torch.Generator().manual_seed(seed)
    )
    together = tuple(torch.cat(column)[order] for column in zip(*sites[:-2], strict=True))
    return {"training": together, "tuning": sites[-2], "unseen": sites[-1]}


def loss_of(method: str, weight: float, shares: Tensor) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """The loss of one method; ``shares`` is the state of group DRO, the weight of each site."""

    def loss(hidden: Tensor, logit: Tensor, y: Tensor, site: Tensor) -> Tensor:
        own = [site == k for k in range(len(AGREEMENT))]
        scale = torch.ones((), requires_grad=True)
        risks = torch.stack([binary_cross_entropy_with_logits(logit[k] * scale, y[k]) for k in own])
        if method == "IRM":
            slopes = [torch.autograd.grad(risk, scale, create_graph=True)[0] for risk in risks]
            return risks.mean() + weight * torch.stack(slopes).square().mean()
        if method == "group DRO":
            shares.mul_((weight * risks.detach()).exp()).div_(shares.sum().clone())
            return (shares * risks).sum()
        if method == "CORAL":
            moments = [(hidden[k].mean(0), hidden[k].T.cov()) for k in own]
            pairs = [(a, b) for i, a in enumerate(moments) for b in moments[:i]]
            apart = [(a - b).square().mean() for one, two in pairs for a, b in zip(one, two, strict=True)]
            return risks.mean() + weight * torch.stack(apart).mean()
        return risks.mean()

    return loss


def peer(method: str, weight: float, data: Site, seed: int) -> Callable[[Tensor], Tensor]:
    """Train a network of two hidden layers; returns the probability of the finding of features."""
    torch.manual_seed(seed)
    x, y, site = data
    mean, sd = x.mean(0), x.std(0)
    body = nn.Sequential(nn.Linear(x.shape[1], WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU())
    head = nn.Linear(WIDTH, 1)
    optimiser = torch.optim.AdamW([*body.parameters(), *head.parameters()], lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    groups = [torch.nonzero(site == k).squeeze(1) for k in range(len(AGREEMENT))]
    shares = torch.full((len(groups),), 1 / len(groups))
    for step in range(STEPS):
        grown = weight if method == "group DRO" else weight * min(1.0, 3 * step / STEPS)
        rows = torch.cat([g[torch.randint(len(g), (BATCH // len(groups),))] for g in groups])
        hidden = body((x[rows] - mean) / sd)
        loss = loss_of(method, grown, shares)(hidden, head(hidden).squeeze(1), y[rows].float(), site[rows])
        optimiser.zero_grad()
        (loss / max(1.0, grown)).backward()
        optimiser.step()
        schedule.step()
    return lambda new: head(body((new - mean) / sd)).squeeze(1).sigmoid().detach()


def ours(weight: float, data: Site, seed: int) -> mi.FittedPosterior:
    """Train this package's network on the same rows."""
    x, y, site = data
    names = {"finding": ["normal", "pneumonia"], "site": [f"site {k + 1}" for k in range(len(AGREEMENT))]}
    parameters = [
        {"name": name, "unit": "1", "low": 0.0, "high": float(len(own)), "categories": own}
        for name, own in names.items()
    ]
    inside = torch.rand(len(x), 2, generator=torch.Generator().manual_seed(seed))
    problem = mi.problems.Simulated(
        parameters, [f"x{i + 1}" for i in range(x.shape[1])], torch.stack([y, site], 1) + inside, x,
        nuisances=["site"],
    )  # fmt: skip
    return mi.fit(problem, seed=seed, members=2, recipe=RECIPE, network=NETWORK, invariant_over="site",
                  invariance=weight)  # fmt: skip


@torch.no_grad()
def probability(fitted: mi.FittedPosterior, x: Tensor) -> Tensor:
    """Probability of the finding of features."""
    return fitted.target_posterior(x).log_prob(torch.full((len(x), 1), 1.5)).exp()


def scores(chance: Tensor, y: Tensor) -> dict[str, float]:
    """Share of right answers, and mean negative log probability in nats."""
    own = torch.where(y == 1, chance, 1 - chance).clamp_min(1e-6)
    return {"accuracy": float((own > 0.5).double().mean()), "nll": float(-own.log().mean())}


def xrays(path: str, save: Callable[[dict[str, Any]], None], agreement: Sequence[float]) -> None:
    """Weights chosen at the tuning site with another seed, then all methods with all seeds."""
    gates: list[dict[str, float]] = []

    def answer(method: str, weight: float, data: Site, seed: int) -> Callable[[Tensor], Tensor]:
        if method != "ours":
            kept = round(0.8 * len(data[0]))  # as many rows as ours trains and stops on
            return peer(method, weight, tuple(column[:kept] for column in data), seed)
        fitted = ours(weight, data, seed)
        gates.append(fitted.card["invariance"]["gates"])
        return lambda x: probability(fitted, x)

    data, tuning = xray_sites(path, TUNING_SEED, agreement), dict[str, dict[float, float]]()
    x, y, _ = data["tuning"]
    for method, weights in WEIGHTS.items():
        tuning[method] = {
            w: scores(answer(method, w, data["training"], TUNING_SEED)(x), y)["nll"] for w in weights
        }
        print(method, tuning[method], flush=True)
    chosen = {"ERM": 0.0} | {method: min(found, key=found.__getitem__) for method, found in tuning.items()}
    gates.clear()
    results: dict[str, list[dict[str, Any]]] = {method: [] for method in chosen}
    for seed in SEEDS:
        data = xray_sites(path, seed, agreement)
        for method, weight in chosen.items():
            use = answer(method, weight, data["training"], seed)
            results[method].append({name: scores(use(x), y) for name, (x, y, _) in data.items()})
            print(seed, method, results[method][-1]["unseen"], flush=True)
        save({"weights": chosen, "tuning": tuning, "results": results, "gates": gates})


CAMERA, DRIFT, CAMERAS, ROWS, TEST_ROWS = "imec_ssm4x4_470_620", 0.03, 6, 1000, 1500


def drifted(y: Tensor, camera: int, size: float, seed: int) -> Tensor:
    """Observations as a camera takes them whose band gains have drifted smoothly since its calibration."""
    generator = torch.Generator().manual_seed(1000 * seed + camera)
    place = torch.linspace(-1, 1, y.shape[1])
    smooth = torch.stack([place, 2 * place.square() - 1, 4 * place**3 - 3 * place])
    return y * (size * torch.randn(3, generator=generator) @ smooth).exp()


def cameras(save: Callable[[dict[str, Any]], None]) -> None:
    """Error of oxygen saturation at cameras that were not in the training, with and without invariance."""
    problem = mi.problems.Oximetry(camera=CAMERA)
    theta, y = problem.simulate((CAMERAS + 1) * ROWS + TEST_ROWS, seed=1)
    latent = problem.space.to_latent(theta)[:, :1]

    def fitted_to(weight: float, seed: int) -> mi.FittedPosterior:
        rows = range(CAMERAS)
        x = torch.cat(
            [
                problem.features(drifted(part, k, DRIFT, seed))
                for k, part in zip(rows, y.split(ROWS), strict=False)
            ]
        )
        table = torch.cat(
            [latent[: CAMERAS * ROWS], torch.arange(CAMERAS).repeat_interleave(ROWS)[:, None]], 1
        )
        return mi.fit(theta=table, x=x, seed=seed, members=2, recipe=RECIPE, network=NETWORK,
                      names=("sao2", "camera"), invariant_over="camera", invariance=weight)  # fmt: skip

    @torch.no_grad()
    def error(
        fitted: mi.FittedPosterior, rows: slice, camera: int, size: float, seed: int
    ) -> dict[str, float]:
        draws = fitted.target_posterior(problem.features(drifted(y[rows], camera, size, seed))).sample((64,))[
            ..., 0
        ]
        low, middle, high = draws.quantile(torch.tensor([0.05, 0.5, 0.95]), 0)
        apart = (torch.special.ndtr(middle) - theta[rows, 0]).abs().mean()
        inside = (low <= latent[rows, 0]) & (latent[rows, 0] <= high)
        return {"error": float(apart), "coverage": float(inside.double().mean())}

    spare, test = slice(CAMERAS * ROWS, (CAMERAS + 1) * ROWS), slice((CAMERAS + 1) * ROWS, None)
    tuning = {
        w: error(fitted_to(w, TUNING_SEED), spare, CAMERAS, 2 * DRIFT, TUNING_SEED) for w in WEIGHTS["ours"]
    }
    weight = min(tuning, key=lambda w: tuning[w]["error"])
    print(tuning, flush=True)
    rows: list[dict[str, Any]] = []
    for seed in SEEDS:
        for w in (0.0, weight):
            fitted = fitted_to(w, seed)
            found = {f"drift × {n}": error(fitted, test, CAMERAS + 1, n * DRIFT, seed) for n in (0, 1, 2, 4)}
            rows.append({"weight": w, "seed": seed, **found, **fitted.card["invariance"]})
            print({k: v for k, v in rows[-1].items() if k != "sites"}, flush=True)
        save({"tuning": tuning, "rows": rows})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("xrays", "cameras"))
    parser.add_argument("images", nargs="?", help="NPZ file of the X-rays")
    parser.add_argument("-o", "--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument(
        "--agreement",
        type=float,
        nargs=len(AGREEMENT),
        default=AGREEMENT,
        metavar="SHARE",
        help="of the scanner's setting and the finding, at each site of the training",
    )
    arguments = parser.parse_args()
    if (arguments.what == "xrays") != (arguments.images is not None):
        parser.error("xrays, and nothing else, needs the NPZ file of the images.")
    torch.set_num_threads(1)

    def save(found: dict[str, Any]) -> None:
        arguments.out.write_text(json.dumps(found, indent=1))

    if arguments.what == "xrays":
        xrays(arguments.images, save, arguments.agreement)
    else:
        cameras(save)


if __name__ == "__main__":
    main()
