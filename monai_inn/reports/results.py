"""The folder that inference leaves: NIfTI maps, a picture, and a JSON file that says what they are."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from monai_inn.files import write_json
from monai_inn.fitted import FittedPosterior
from monai_inn.fitted.reading import load_shared
from monai_inn.folders import new_folder
from monai_inn.inferers.likelihood.evidence import model_probability, require_rivals
from monai_inn.inferers.predicted import FEW
from monai_inn.inferers.some_pixels import map_of_some, require_answers_of_some
from monai_inn.inferers.summaries import stored_levels
from monai_inn.reports import image_files
from monai_inn.reports.curve_files import CurveFiles
from monai_inn.reports.records import record, summary, trust_summary
from monai_inn.reports.schemas import RESULT

if TYPE_CHECKING:
    from monai.data.meta_tensor import MetaTensor

__all__ = ["RESULT", "infer_image", "trust_image"]

_PREVIEW_PIXELS = 1 << 16  # that are asked: a second or two on two cores


def infer_image(
    bundle: str | PathLike[str],
    image: str | PathLike[str],
    out: str | PathLike[str],
    *,
    samples: int = 64,
    interval: float = 0.95,
    below: Mapping[str, float] | None = None,
    false_alarm: float = 0.05,
    adequacy: int = 0,
    adaptive: bool = False,
    reweight: bool = False,
    usual_fit: int = 0,
    evidence: int = 0,
    save_samples: int = 0,
    save_quantiles: int = 0,
    preview: str | PathLike[str] | None = None,
    has_picture: bool = True,
    mask: str | None = None,
    white: str | None = None,
    dark: str | None = None,
    shrink: int = 1,
    device: str = "cpu",
    seed: int = 0,
    progress: Callable[[float], None] = lambda share: None,
) -> dict[str, Any]:
    """Infer the posterior of an image file and write maps, a picture and ``result.json`` into a folder.

    Args:
        bundle: folder of a bundle, or the name of a shipped one.
        image: image file.
        out: folder to write; it has its record once it is complete.
        samples: posterior samples per pixel.
        interval: probability inside the interval whose width is mapped.
        below: thresholds by parameter name.
        false_alarm: share of in-distribution pixels that may be called untrusted.
        adequacy: simulations per pixel for a map of how well the model fits, and for curves of pixels with
            their posterior-predictive bands where the problem has such; 0 for none.
        adaptive: whether fewer samples are drawn for the maps where a fourth or half of them suffices; those
            of ``save_samples`` are all drawn.
        reweight: whether posteriors come from the likelihood, with the network's as proposal.
        usual_fit: pixels that are fitted as other programs do, for a map of where the fit ends at a bound.
        evidence: pixels in which the models that the problem knows are weighed by their evidence, for maps of
            how probable each is.
        save_samples: coherent posterior samples to write as well.
        save_quantiles: equally likely quantiles to write, beside the median and the interval's ends.
        preview: folder for a quick result from the preview head, of the same form, which is there first. Of
            an image of more than 65,536 pixels it shows blocks.
        has_picture: whether to draw all maps into ``maps.png``.
        mask: image that is not zero where results are wanted.
        white: white reference, file or number.
        dark: dark reference, file or number.
        shrink: average blocks of so many pixels along each axis first.
        device: where to compute.
        seed: seed of the samples.
        progress: called with the share of the pixels that are done.

    Returns:
        The content of ``result.json``.

    Raises:
        ValueError: if bundle, image or an argument is not usable.
        OSError: if a file cannot be read or written.
    """
    options: dict[str, Any] = {"samples": samples, "interval": interval, "below": dict(below or {})}
    options |= {"false_alarm": false_alarm, "adequacy": adequacy, "adaptive": adaptive}
    options |= {"reweight": reweight}
    reading: dict[str, Any] = {"mask": mask, "white": white, "dark": dark, "shrink": shrink}
    kept = {"usual_fit": usual_fit, "evidence": evidence}
    kept |= {"save_samples": save_samples, "save_quantiles": save_quantiles}
    settings = {**options, **kept, **reading, "seed": seed, "device": device}
    if save_samples < 0:
        raise ValueError(f"save_samples = {save_samples}; give 0 or a positive number.")
    fitted = load_shared(bundle, device)
    require_answers_of_some(fitted.problem, usual_fit, evidence)
    with new_folder(out, RESULT, "a result of inference", source=image) as draft:
        loaded = image_files.read_image(image, fitted.problem, **reading)
        if preview is not None:
            _preview(preview, fitted, loaded, false_alarm, (bundle, image, settings))
        started = time.monotonic()
        curves = CurveFiles(draft, fitted.problem, loaded, interval) if adequacy else None
        options |= {"quantiles": save_quantiles, "seed": seed, "curves": curves and curves.curves}
        drawn = samples // FEW if adaptive else samples  # in every pixel
        options |= {"keep": save_samples if save_samples <= drawn else 0}
        maps = image_files.on_cpu(fitted.maps(loaded, **options, batched=False, progress=progress))
        if usual_fit or evidence:
            maps |= _maps_of_some(fitted, loaded, maps["valid"][0] > 0.5, usual_fit, evidence, seed)
        seconds = time.monotonic() - started
        files = [
            *image_files.write_maps(draft, maps),
            *image_files.write_quantiles(draft, maps, stored_levels(save_quantiles, interval)),
            *image_files.write_samples(draft, fitted, loaded, save_samples, seed, maps.pop("samples", None)),
            image_files.write_photo(draft, fitted, loaded),
            *(curves.files if curves else ()),
        ]
        result = record("infer", bundle, fitted, image, settings, loaded, files)
        result |= curves.finish(adequacy) if curves else {}
        result |= {"summary": summary(fitted, maps), "seconds": round(seconds, 2), "pictures": []}
        if has_picture:
            _draw(draft / "maps.png", maps, loaded, fitted, result)
            result["pictures"].append("maps.png")
        write_json(draft / RESULT, result)
    return result


def _maps_of_some(
    fitted: FittedPosterior, loaded: MetaTensor, valid: Tensor, usual_fit: int, evidence: int, seed: int
) -> dict[str, MetaTensor]:
    """Maps of what was asked of some pixels."""
    problem, image, maps = fitted.problem, loaded.cpu(), {}
    models: tuple[str, ...] = ()
    if usual_fit:

        def ends_at_bound(y: Tensor) -> Tensor:
            return problem.application.ends_at_bound(y).unsqueeze(1)

        maps["at_bound"] = map_of_some(ends_at_bound, 1, image, valid, usual_fit)
    if evidence:
        models = require_rivals(problem).parameters[0].categories
        weigh = functools.partial(model_probability, fitted, seed=seed)
        maps["model_probability"] = map_of_some(weigh, len(models), image, valid, evidence)
    return fitted.with_meta(maps, loaded, models=models)


def _draw(
    path: Path,
    maps: Mapping[str, MetaTensor],
    loaded: MetaTensor,
    fitted: FittedPosterior,
    result: dict[str, Any],
) -> None:
    """Draw all maps of a result."""
    from monai_inn.reports.figures import map_figure

    settings = result["settings"]
    caption = (
        f"Bundle {result['bundle']['name']}; {settings['samples']} samples per pixel; interval "
        f"{settings['interval']:.0%}; not explained at {settings['false_alarm']:.0%} false alarms."
    )
    title = f"Posterior maps of {Path(result['image']['path']).name}"
    map_figure(maps, loaded.cpu(), path, fitted, caption, title, settings["false_alarm"])


def _preview(
    out: str | PathLike[str], fitted: FittedPosterior, loaded: MetaTensor, false_alarm: float, about: Any
) -> None:
    """Write what is known after one pass for some pixels: quantiles and trust.

    Somebody waits for it, and compressing its files takes longer than writing them.
    """
    bundle, image, settings = about
    options: dict[str, Any] = {"most": _PREVIEW_PIXELS, "batched": False}
    maps = fitted.trust(loaded, false_alarm=false_alarm, **options) | fitted.preview(loaded, **options)
    maps = image_files.on_cpu(maps)
    levels = fitted.preview_levels
    with new_folder(out, RESULT, "a result of inference", source=image) as draft:
        files = [
            *image_files.write_maps(draft, maps, ".nii"),
            *image_files.write_quantiles(draft, maps, levels),
            image_files.write_photo(draft, fitted, loaded),
        ]
        settings = settings | {"interval": levels[-1] - levels[0]}
        result = record("preview", bundle, fitted, image, settings, loaded, files)
        result |= {"summary": trust_summary(maps), "pictures": []}
        write_json(draft / RESULT, result)


def trust_image(
    bundle: str | PathLike[str],
    image: str | PathLike[str],
    out: str | PathLike[str],
    *,
    false_alarm: float = 0.05,
    mask: str | None = None,
    white: str | None = None,
    dark: str | None = None,
    shrink: int = 1,
    device: str = "cpu",
) -> dict[str, Any]:
    """Write only the maps that tell where an image may be trusted, and ``result.json``.

    Arguments, result and errors are those of ``infer_image``.
    """
    reading: dict[str, Any] = {"mask": mask, "white": white, "dark": dark, "shrink": shrink}
    settings = {"false_alarm": false_alarm, **reading, "device": device}
    fitted = load_shared(bundle, device)
    with new_folder(out, RESULT, "a result of inference", source=image) as draft:
        loaded = image_files.read_image(image, fitted.problem, **reading)
        maps = image_files.on_cpu(fitted.trust(loaded, false_alarm=false_alarm, batched=False))
        result = record(
            "ood", bundle, fitted, image, settings, loaded, list(image_files.write_maps(draft, maps))
        )
        result |= {"summary": trust_summary(maps), "pictures": []}
        write_json(draft / RESULT, result)
    return result
