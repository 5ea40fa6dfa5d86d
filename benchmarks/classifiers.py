"""Generative classifiers beside feed-forward networks: accuracy, calibration, strange images, evidence.

    python benchmarks/classifiers.py --data FOLDER --set xray --seeds 5 -o xray.json
    python benchmarks/classifiers.py --data FOLDER --set blood --seeds 5 -o blood.json
    python benchmarks/classifiers.py --shipped -o shipped.json

FOLDER holds pneumonia_xray_28.npz and blood_cells_28.npz, and beside it ../ct with volumes of other parts of
the body. Every network gets the processor time that ours took. Results are written after each seed. The last
line takes the shipped bundles and the images that they were measured on, worse and worse.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.networks.nets import DenseNet121
from scipy.ndimage import affine_transform, gaussian_filter, rotate, shift
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy, interpolate

import monai_inn as mi
from monai_inn.applications.classification.collections import Collection
from monai_inn.applications.classification.problem import LabelledImages
from monai_inn.inferers.trust.verdicts import Explained, misfit_scores
from monai_inn.metrics import auroc, class_shares, classification_figures
from monai_inn.networks.classes.evidence import evidence_map
from monai_inn.training import Recipe

NETWORK = {"flow": {"coupling": "affine", "num_blocks": 2, "hidden_channels": [32, 32]}}
STEPS = {"xray": 300, "blood": 150}
STRANGE = 300  # images of each kind


def collection(name: str, folder: Path) -> tuple[Collection, dict[str, tuple[Tensor, Tensor]]]:
    """The images of a set, and shifted ones to test on as rows with labels."""
    if name == "xray":
        z = np.load(folder / "pneumonia_xray_28.npz")
        made = Collection.of(
            z["train_images"],
            z["train_labels"],
            ("normal", "pneumonia"),
            measured=(z["val_images"], z["val_labels"]),
        )
        test = (
            torch.tensor(z["test_images"]).flatten(1).float(),
            torch.tensor(z["test_labels"]).flatten().long(),
        )
        return made, {"test": test}
    z = np.load(folder / "blood_cells_28.npz")
    return Collection.of(
        z["images"], z["labels"], ("red cell", "white cell", "platelet"), groups=z["slide_image"]
    ), {}


def strange(name: str, folder: Path, measured: Tensor) -> dict[str, Tensor]:
    """Images that are of no class, rows of grey levels."""
    import nibabel

    generator = torch.Generator().manual_seed(0)
    colours = 1 if name == "xray" else 3
    slices = []
    for file in ("abdomen_totalseg_3mm.nii.gz", "chest_lidc0001_2mm.nii.gz"):
        volume = torch.from_numpy(nibabel.load(folder.parent / "ct" / file).get_fdata().astype(np.float32))
        some = volume[..., torch.linspace(10, volume.shape[2] - 10, 60).long()].movedim(2, 0).rot90(1, (1, 2))
        grey = ((some + 200) / 600).clamp(0, 1) * 255
        slices.append(interpolate(grey.unsqueeze(1), (28, 28), mode="bilinear", antialias=True)[:, 0])
    other = "blood_cells_28.npz" if name == "xray" else "pneumonia_xray_28.npz"
    z = np.load(folder / other)
    if name == "xray":
        foreign = torch.tensor(z["images"]).float().mean(-1)
    else:
        foreign = torch.tensor(z["val_images"]).float()

    def rows(grey: Tensor) -> Tensor:
        return grey.unsqueeze(-1).expand(*grey.shape, colours).flatten(1)

    return {
        ("blood cells" if name == "xray" else "chest X-rays"): rows(foreign)[:STRANGE],
        "CT slices": rows(torch.cat(slices)),
        "noise": 255 * torch.rand(STRANGE, measured.shape[1], generator=generator),
        "inverted": 255 - measured[:STRANGE],
    }


class Convolutions(nn.Module):
    """Feed-forward network of about as many weights as ours."""

    def __init__(self, colours: int, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(colours, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(32 * 49, 32), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the classes."""
        return self.head(self.body(x))


def images(problem: LabelledImages, rows: Tensor) -> Tensor:
    """Rows of grey levels as images for convolutions, ``(n, C, rows, columns)``."""
    shaped = (rows.float() / 255).unflatten(1, (*problem.size, -1)).movedim(-1, 1)
    return (shaped - 0.5) / 0.25


def feed_forward(
    net: nn.Module, problem: LabelledImages, seconds: float, seed: int, judged: int = 10_000
) -> nn.Module:
    """Train a network for some processor time on the same varied images, the best on held-out ones."""
    problem.split(*range(4))
    theta, y = problem.simulate_clean(problem.available(0) or 0, 0)
    label = theta[:, 0].long()
    held, truth = problem.simulate(problem.available(1) or 0, 1)[::-1]
    held, truth = held[:judged], truth[:judged, 0].long()
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=1e-3)
    began, best, kept, evaluated = time.process_time(), math.inf, None, 0.0
    while (spent := time.process_time() - began) < seconds:
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * 0.5 * (1 + math.cos(math.pi * spent / seconds)) + 1e-5
        index = torch.randint(len(y), (64,), generator=generator)
        net.train()
        loss = cross_entropy(net(images(problem, problem.noise(y[index], generator))), label[index])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if spent - evaluated > seconds / 12 or kept is None:
            net.eval()
            with torch.no_grad():
                found = float(cross_entropy(net(images(problem, held)), truth))
            evaluated = spent
            if found < best:
                best, kept = found, {n: v.clone() for n, v in net.state_dict().items()}
    net.load_state_dict(kept)
    return net.eval()


def degraded(rows: Tensor, size: tuple[int, ...]) -> dict[str, Tensor]:
    """The same images, worse."""
    generator = torch.Generator().manual_seed(1)
    shaped = rows.unflatten(1, (*size, -1)).movedim(-1, 1)
    blurred = avg_pool2d(shaped, 3, stride=1, padding=1, count_include_pad=False).movedim(1, -1).flatten(1)
    return {
        "noise of 8 %": (rows + 20 * torch.randn(rows.shape, generator=generator)).clamp(0, 255),
        "blurred": blurred,
        "contrast halved": 128 + 0.5 * (rows - 128),
    }


def stepped(logits: Callable[[Tensor], Tensor], rows: Tensor, label: Tensor, size: float) -> Tensor:
    """One adversarial step of so many grey levels along the sign of the gradient."""
    at = rows.clone().requires_grad_(True)
    cross_entropy(logits(at), label).backward()
    return (rows + size * at.grad.sign()).clamp(0, 255)


STRENGTHS = {
    "as they are": (0.0,),
    "noise, standard deviation in grey levels": (5.0, 10.0, 20.0, 40.0),
    "Gaussian blur, standard deviation in pixels": (0.5, 1.0, 1.5, 2.0),
    "contrast, factor": (1.5, 0.75, 0.5, 0.25),
    "adversarial step in grey levels": (1.0, 2.0, 4.0, 8.0),
}


def weakened(
    kind: str, strength: float, logits: Callable[[Tensor], Tensor], rows: Tensor, label: Tensor, sides: int
) -> Tensor:
    """Images ``(n, C)`` after one of ``STRENGTHS``, whole grey levels as a file has them."""
    first = kind.partition(",")[0]
    if first == "noise":
        rows = rows + strength * torch.randn(rows.shape, generator=torch.Generator().manual_seed(1))
    elif first == "Gaussian blur":
        shaped = rows.unflatten(1, (sides, sides, -1)).numpy()
        rows = torch.from_numpy(gaussian_filter(shaped, (0, strength, strength, 0), mode="nearest"))
    elif first == "contrast":
        rows = 127.5 + strength * (rows - 127.5)
    elif first.startswith("adversarial"):
        rows = stepped(logits, rows, label, strength)
    return rows.flatten(1).clamp(0, 255).round()


def shipped(name: str) -> list[dict[str, Any]]:
    """What a shipped bundle makes of its images, worse and worse; the steps know nothing of the guard."""
    fitted = mi.load(name)
    problem, density = fitted.problem, fitted.network.flow.density
    rows, label = problem.tensors["images"], problem.tensors["labels"].long()

    def logits(at: Tensor) -> Tensor:
        return density.logits(problem.features(at))

    found = []
    for kind, strengths in STRENGTHS.items():
        for strength in strengths:
            given = weakened(kind, strength, logits, rows, label, problem.size[0])
            with torch.no_grad():
                probability = logits(given).softmax(1)
            kept = fitted.is_explained(given)
            hit = probability.argmax(1) == label
            found.append(
                {"bundle": name, "kind": kind, "strength": strength,
                 "images": len(rows), "flagged": int((~kept).sum()), "wrong": int((~hit).sum()),
                 "wrong_and_not_flagged": int((~hit & kept).sum()),
                 **short(classification_figures(probability, label, problem.classes))}
            )  # fmt: skip
            print(json.dumps(found[-1]), flush=True)
    return found + populations(fitted, rows, label)


def populations(fitted: mi.FittedPosterior, rows: Tensor, label: Tensor) -> list[dict[str, Any]]:
    """What a bundle makes of its images as other sites may take them, as it is and adapted without labels."""
    problem, density = fitted.problem, fitted.network.flow.density
    found = []
    for kind, given in elsewhere(rows, problem.size).items():
        features = problem.features(given)
        with torch.no_grad():
            plain = density.logits(features).softmax(1)
            only = density.log_likelihood(features)
        only = (only + class_shares(only).log()).softmax(1).float()
        found.append(
            {"kind": kind, "flagged": int((~fitted.is_explained(given)).sum()),
             "as it is": short(classification_figures(plain, label, problem.classes)),
             "shares alone": short(classification_figures(only, label, problem.classes)),
             "adapted": adapted(fitted, given, label)}
        )  # fmt: skip
        print(json.dumps(found[-1]), flush=True)
    return found


def elsewhere(rows: Tensor, size: tuple[int, ...]) -> dict[str, Tensor]:
    """The same images otherwise taken: of another gradation, sharpness, field of view or position."""
    shaped = rows.unflatten(1, (*size, -1)).numpy()
    across, down = np.meshgrid(*(np.linspace(-1, 1, side) for side in size))
    dim = 1 - 0.25 * (across**2 + down**2)[None, :, :, None]
    made = {
        "as they are": shaped,
        "gamma 2.5": 255 * (shaped / 255) ** 2.5,
        "gamma 0.4": 255 * (shaped / 255) ** 0.4,
        "70 grey levels brighter": shaped + 70,
        "blurred by 3 pixels": gaussian_filter(shaped, (0, 3, 3, 0)),
        "darker towards the corners": shaped * dim,
        "15 % larger": affine_transform(shaped, *_about_middle(size, 1 / 1.15), order=1, mode="nearest"),
        "13 % smaller": affine_transform(shaped, *_about_middle(size, 1 / 0.87), order=1, mode="nearest"),
        "turned by 10°": rotate(shaped, 10, axes=(1, 2), reshape=False, order=1, mode="nearest"),
        "3 pixels to the right": shift(shaped, (0, 0, 3, 0), order=1, mode="nearest"),
    }
    return {kind: torch.from_numpy(values.clip(0, 255)).float().flatten(1) for kind, values in made.items()}


def _about_middle(size: tuple[int, ...], step: float) -> tuple[np.ndarray, np.ndarray]:
    """Matrix and offset by which SciPy samples images at other steps around their middle."""
    steps = np.array([1, step, step, 1])
    middle = np.array([0, *((side - 1) / 2 for side in size), 0])
    return steps, middle - steps * middle


def adapted(fitted: mi.FittedPosterior, rows: Tensor, label: Tensor) -> dict[str, Any]:
    """What is measured once shares, centres and width of the classes were found without labels."""
    problem, density = fitted.problem, fitted.network.flow.density
    trained, features = density.log_shares.exp(), problem.features(rows)
    density.adapt(features)
    with torch.no_grad():
        probability = density.logits(features).softmax(1)
    shares = density.log_shares.exp()
    density.set_shares(trained)
    return {**short(classification_figures(probability, label, problem.classes)), "shares": shares.tolist()}


def figures(logits: Callable[[Tensor], Tensor], sets: dict[str, tuple[Tensor, Tensor]], log_shares: Tensor,
            names: tuple[str, ...], *, worse: bool = True) -> dict[str, Any]:  # fmt: skip
    """What is measured of probabilities, also after the shares of the classes were found without labels."""
    found = {}
    for name, (rows, label) in sets.items():
        with torch.no_grad():
            raw = logits(rows)
        found[name] = short(classification_figures(raw.softmax(1), label, names))
        if name == "test":
            shares = class_shares(raw - log_shares)
            moved = (raw - log_shares + shares.log()).softmax(1).float()
            found["test, shares corrected"] = short(classification_figures(moved, label, names))
            found["test, shares corrected"]["shares"] = shares.tolist()
            known = torch.bincount(label).double() / len(label)
            moved = (raw - log_shares + known.log()).softmax(1).float()
            found["test, true shares"] = short(classification_figures(moved, label, names))
    if not worse:
        return found
    rows, label = sets["measured"]
    for name, spoilt in degraded(rows, (28, 28)).items():
        with torch.no_grad():
            found[name] = {"accuracy": float((logits(spoilt).argmax(1) == label).float().mean())}
    for size in (2.0, 8.0):
        moved = stepped(logits, rows, label, size)
        with torch.no_grad():
            right = float((logits(moved).argmax(1) == label).float().mean())
        found[f"adversarial step of {size:g}"] = {"accuracy": right}
    return found


def short(entry: dict[str, Any]) -> dict[str, Any]:
    areas = [area["value"] for area in entry["auroc"].values()]
    return {
        "accuracy": entry["accuracy"]["value"], "log_score": entry["log_score_nats"]["value"],
        "brier": entry["brier"]["value"], "ece": entry["calibration_error"]["value"],
        "ece_low": entry["calibration_error"]["low"], "ece_high": entry["calibration_error"]["high"],
        "ece_if_exact": entry["calibration_error_if_exact"], "auroc": float(np.mean(areas)),
    }  # fmt: skip


def guards(
    fitted: mi.FittedPosterior, net: Convolutions, train: Tensor, label: Tensor
) -> dict[str, Callable]:
    """Scores of strangeness of rows, HIGH = strange."""
    problem = fitted.problem
    assert isinstance(problem, LabelledImages)
    thresholds = problem._parts["thresholds"][0].float()
    usual = misfit_scores(problem, fitted.network, thresholds)[0]
    with torch.no_grad():
        body = net.body(images(problem, train))
        centres = torch.stack([body[label == k].mean(0) for k in range(len(problem.classes))])
        apart = body - centres[label]
        inverse = torch.linalg.pinv(torch.cov(apart.T))

    def ours(column: int, *, two_sided: bool = False) -> Callable[[Tensor], Tensor]:
        def score(rows: Tensor) -> Tensor:
            value = misfit_scores(problem, fitted.network, rows)[0][:, column]
            return (value - usual[:, column].median()).abs() if two_sided else value

        return score

    def combined(rows: Tensor) -> Tensor:
        return -Explained(problem, fitted.network, 0.05).p_values(rows)[1]

    def mahalanobis(rows: Tensor) -> Tensor:
        left = net.body(images(problem, rows)).unsqueeze(1) - centres
        return torch.einsum("nki,ij,nkj->nk", left, inverse, left).amin(1)

    def nearest(rows: Tensor) -> Tensor:
        return torch.cdist(net.body(images(problem, rows)), body).kthvalue(10, 1).values

    values = (usual.shape[1] - 1) // 2
    return {
        "ours: −log p": ours(1),
        "ours: typicality": ours(1, two_sided=True),
        "ours: distance from the class": ours(2),
        "ours: residual, two-sided": ours(values, two_sided=True),
        "ours: WAIC of the ensemble": ours(0),
        "ours: combined p-value": combined,
        "net: max-softmax": lambda rows: -net(images(problem, rows)).softmax(1).amax(1),
        "net: energy": lambda rows: -net(images(problem, rows)).logsumexp(1),
        "net: Mahalanobis": mahalanobis,
        "net: 10 nearest neighbours": nearest,
    }


SHARES = 0.02, 0.05, 0.1, 0.2
"""Of the pixels that are deleted."""


def left_over(
    odds: Callable[[Tensor], Tensor], rows: Tensor, middle: Tensor, values: dict[str, Tensor]
) -> dict[str, list[float]]:
    """Log odds of the own class that are left when pixels that count most take the mean image's value."""
    start, found = odds(rows), {}
    for name, value in values.items():
        order, left = value.argsort(1, descending=True), []
        for share in SHARES:
            gone = torch.zeros_like(rows).scatter_(1, order[:, : round(share * rows.shape[1])], 1)
            left.append(float((odds(torch.lerp(rows, middle, gone)) / start).median()))
        found[name] = left
    return found


def deletion(
    fitted: mi.FittedPosterior, net: Convolutions, rows: Tensor
) -> dict[str, dict[str, list[float]]]:
    """What is left under explanations of our network, and under those of convolutions by their own."""
    from captum.attr import IntegratedGradients, LayerAttribution, LayerGradCam

    problem, density = fitted.problem, fitted.network.flow.density
    middle = density.components.mean

    def of(logits: Callable[[Tensor], Tensor], explain: Callable) -> dict[str, list[float]]:
        features = problem.features(rows)
        with torch.no_grad():
            own = logits(features).argmax(1)
        features, own = features[own < 2], own[own < 2]  # of more classes the first two
        sign = 1 - 2 * own

        def odds(at: Tensor) -> Tensor:
            terms = logits(at)
            return (terms[:, 0] - terms[:, 1]) * sign

        start = middle.expand_as(features)
        by_chance = torch.rand(features.shape, generator=torch.Generator().manual_seed(0))
        whole = {"n_steps": 16, "internal_batch_size": len(features)}  # `odds` knows the rows of one batch
        integrated = IntegratedGradients(odds).attribute(features, start, **whole)
        values = explain(features, own) | {"integrated gradients": integrated, "at random": by_chance}
        with torch.no_grad():
            return left_over(odds, features, start, {name: value.detach() for name, value in values.items()})

    def evidence(features: Tensor, own: Tensor) -> dict[str, Tensor]:
        return {"evidence": evidence_map(density, features, 0, 1) * (1 - 2 * own)[:, None]}

    def grad_cam(features: Tensor, own: Tensor) -> dict[str, Tensor]:
        found = LayerGradCam(net, net.body[3]).attribute(images(problem, 255 * features), own)
        found = LayerAttribution.interpolate(found, problem.size, "bilinear")[:, 0].flatten(1)
        return {"Grad-CAM": found.repeat_interleave(len(problem.observation.names), 1)}

    return {
        "ours": of(lambda at: density.class_terms(density.latent(at)[0]), evidence),
        "convolutions": of(lambda at: net(images(problem, 255 * at)), grad_cam),
    }


def one_seed(name: str, folder: Path, seed: int, has_deep: bool) -> dict[str, Any]:
    """Train ours and its opponents with one seed, and measure them; DenseNet121 only if asked for."""
    made, shifted = collection(name, folder)
    problem = LabelledImages.of_collection(made, changes="shift" if name == "xray" else "turn")
    began = time.process_time()
    recipe = Recipe(posterior_steps=STEPS[name], batch_size=256, density_steps=60)
    fitted = mi.fit(problem, recipe=recipe, network=NETWORK, seed=seed)
    seconds = time.process_time() - began
    torch.manual_seed(seed)
    colours, classes = len(problem.observation.names), len(problem.classes)
    net = feed_forward(Convolutions(colours, classes), problem, seconds, seed)
    rows, label = problem._parts["training"]
    log_shares = fitted.network.flow.density.log_shares
    measured = problem._parts["measured"][0].float(), problem._parts["measured"][1]
    sets = {"measured": measured, **shifted}
    density = fitted.network.flow.density

    def nets(network: nn.Module) -> Callable[[Tensor], Tensor]:
        return lambda r: network(images(problem, r))

    result: dict[str, Any] = {
        "seed": seed, "seconds": seconds,
        "weights": {"ours": sum(p.numel() for p in density.parameters()) + density.components.axes.numel(),
                    "net": sum(p.numel() for p in net.parameters())},
        "ours": figures(lambda r: density.logits(problem.features(r)), sets, log_shares, problem.classes),
        "net": figures(nets(net), sets, log_shares, problem.classes),
    }  # fmt: skip
    result["ours"] |= {f"{part}, adapted": adapted(fitted, *given) for part, given in sets.items()}
    if has_deep:
        deep = nn.Sequential(nn.Upsample(32, mode="bilinear"), DenseNet121(2, colours, classes))
        dense = feed_forward(deep, problem, seconds, seed, judged=64)
        result["DenseNet121"] = figures(nets(dense), sets, log_shares, problem.classes, worse=False)
    result["deletion"] = deletion(fitted, net, measured[0][:200])
    scores = guards(fitted, net, rows.float(), label)
    odd = strange(name, folder, measured[0])
    with torch.no_grad():
        usual = {key: score(measured[0]) for key, score in scores.items()}
        result["strange"] = {
            key: {kind: auroc(score(images), usual[key]) for kind, images in odd.items()}
            for key, score in scores.items()
        }
        explained = {kind: fitted.is_explained(images) for kind, images in odd.items()}
        flagged = {kind: 1 - float(kept.float().mean()) for kind, kept in explained.items()}
        result["flagged at 5 %"] = flagged | {
            key: 1 - float(fitted.is_explained(r).float().mean()) for key, (r, _) in sets.items()
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--set", choices=tuple(STEPS), default="xray")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--deep", action="store_true", help="with DenseNet121")
    parser.add_argument("--shipped", action="store_true", help="the shipped bundles instead")
    parser.add_argument("-o", "--out", type=Path, required=True)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.shipped:
        found = [entry for name in ("chest_xray", "blood_cells") for entry in shipped(name)]
        chosen.out.write_text(json.dumps(found, indent=1))
        return
    if chosen.data is None:
        parser.error("give --data FOLDER, or --shipped")
    results = []
    for seed in range(chosen.seeds):
        results.append(one_seed(chosen.set, chosen.data, seed, chosen.deep))
        chosen.out.write_text(json.dumps(results, indent=1))
        print(seed, json.dumps(results[-1]["ours"]["measured"]), flush=True)


if __name__ == "__main__":
    main()
