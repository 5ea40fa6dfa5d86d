"""Draw what latents of images are good for: python docs/make_guided_figure.py FOLDER [WEIGHTS].

The folder holds the files that `benchmarks/contrast.py` reads. The weights are a file that
`benchmarks/diversity.py --save` wrote; without it three minutes of processor time go into a training.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from safetensors.torch import load_file

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "benchmarks"))

from diversity import GIVEN, SD, SIZE, Data  # noqa: E402
from diversity_methods import OurFlow, train  # noqa: E402

from monai_inn.reading.orientation import slice_view  # noqa: E402

COLUMNS, OTHER = 7, "07"
TEMPERATURES = torch.linspace(0.0, 1.2, COLUMNS)
TOP, BRIGHTEST = 1.4, {"t1": 1.4, "t2": 2.4}  # white: FLAIR, and what is given, over the peak


def rows(flow, data: Data) -> list[tuple[str, list[str], torch.Tensor, torch.Tensor]]:
    """Title, labels, images ``(7, *size)`` and brains of each row, grey levels over the peak."""
    new, other = data.cases(), data.cases(OTHER)
    peaks = data.problem.peaks
    k = int(new.lesions.sum((1, 2)).argmax())

    def grey(images):
        return images[..., 0, :, :] * SD / peaks[-1] + 1

    def contrast(cases, name):  # the first features are grey levels over their peaks, minus 1
        return (cases.observation[:, GIVEN.index(name)] + 1) * TOP / BRIGHTEST[name]

    condition = new.observation[k : k + 1]
    q, own = flow(condition), new.brain[k].expand(COLUMNS, *SIZE)
    torch.manual_seed(0)
    samples = q.sample((4,))[:, 0]
    seen = torch.stack([*(contrast(new, name)[k] for name in GIVEN), grey(new.image)[k]])
    first = [*(f"{name.upper()}, given" for name in GIVEN), "true FLAIR"]
    diverse = torch.cat([seen, grey(samples)])
    # Half of the slices are the same patient's, the others another's.
    of_new = torch.linspace(2, len(new.image) - 3, 4).long()
    of_other = torch.linspace(2, len(other.image) - 3, 3).long()
    parts = [torch.cat([a[of_new], b[of_other]]) for a, b in zip(new, other, strict=True)]
    conditions, images, brains = parts[0], parts[1], parts[2]
    t2 = torch.cat([contrast(new, "t2")[of_new], contrast(other, "t2")[of_other]])
    latent = torch.randn(1, 1, q.event_shape.numel())
    kept = flow(conditions).push(latent)[0]
    styles = flow(conditions).latent(images)
    restyled = q.push(styles.unsqueeze(1))[:, 0]
    way = q.between(samples[:1], samples[1:2], torch.linspace(0, 1, COLUMNS))[:, 0]
    warm = q.push(TEMPERATURES.view(-1, 1, 1) * latent)[:, 0]
    names = [f"{n}, patient 26" for n in range(1, 5)] + [f"{n}, patient 07" for n in range(5, 8)]
    shares = [f"{share:.2f} of the way" for share in torch.linspace(0, 1, COLUMNS)]
    return [
        ("One observation, several images", [*first, *(f"sample {n}" for n in range(1, 5))], diverse, own),
        ("Seven observations: T2", names, t2, brains),
        ("… the same latent given each of them: the style stays", names, grey(kept), brains),
        ("First row's observation, with the latents of those seven's true FLAIR", names, grey(restyled), own),
        ("From sample 1 to sample 2 along the great circle", shares, grey(way), own),
        ("One latent at several temperatures", [f"T = {t:.1f}" for t in TEMPERATURES], grey(warm), own),
    ]


@torch.no_grad()
def drawn(flow, data: Data, path: Path) -> None:
    """Draw all rows."""
    found = rows(flow, data)
    figure = Figure(figsize=(7.7, 9.6), dpi=100)
    parts = figure.subfigures(len(found), 1)
    for part, (title, labels, images, brains) in zip(parts, found, strict=True):
        part.suptitle(title, fontsize=8, x=0.01, y=0.99, ha="left", fontweight="bold")
        panels = part.subplots(1, COLUMNS, gridspec_kw={"wspace": 0.03, "left": 0.01, "right": 0.99,
                                                        "bottom": 0.01, "top": 0.8})  # fmt: skip
        for panel, label, image, brain in zip(panels, labels, images, brains, strict=True):
            shown = torch.where(brain, image, torch.nan).numpy()
            upright = slice_view(shown.shape, np.eye(4)).plane(shown)  # axes to the right and front
            panel.imshow(upright, cmap="gray", vmin=0, vmax=TOP, interpolation="nearest")
            panel.set(xticks=[], yticks=[], facecolor="black")
            panel.set_title(label, fontsize=6.5, pad=2)
    figure.savefig(path)


def main() -> None:
    """Draw the figure of `docs/images.md`."""
    data = Data(Path(sys.argv[1]))
    method = OurFlow(data.cases().observation.shape[1], SIZE)
    if len(sys.argv) > 2:
        method.flow.load_state_dict(load_file(sys.argv[2]))
        method.eval()
    else:
        torch.manual_seed(0)
        train(method, data.batch, 180)
    drawn(method.flow, data, HERE / "images" / "guided.png")


if __name__ == "__main__":
    main()
