"""In- and out-of-distribution spectra at the 100 bands of the tivita camera, made from real measurements.

Measured: the mean organ spectra, their spread over subjects, the skin reflectances, the coefficients of the
phantoms. Drawn: how a subject deviates from the mean (with the measured standard deviation, and the smooth
correlation of measured repeats of one tissue, because only means were published), the exposure (the spectra
are known up to a factor), and every disturbance named below. No set contains a real image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from monai_inn.physics import tissue_spectra
from monai_inn.physics.chromophores import absorption_per_cm
from monai_inn.physics.transport.layers import simulate_layers

__all__ = ["CENTRE_NM", "DYE_CONCENTRATIONS", "OodData", "build"]

Array = NDArray[np.float32]
Floats = NDArray[np.float64]

CENTRE_NM: Floats = 500 + np.arange(100) * 500 / 99
DYE_CONCENTRATIONS = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0)
# Mean reflectance relative to white, of which the normalised organ spectra say nothing.
_EXPOSURE = (0.1, 0.4)
_READ_NOISE = 1e-3
_SNR = 400.0  # at white; measured repeats hold their noise already


@dataclass
class OodData:
    """Named sets of observations, each ``(N, 100)`` float32, reflectance relative to white.

    Attributes:
        inside: one set an organ.
        outside: one set a kind of out-of-distribution data.
        dial: organ spectra under a growing concentration of a foreign dye.
        notes: what is measured and what is assumed, for sets where that is not plain.
    """

    inside: dict[str, Array] = field(default_factory=dict)
    outside: dict[str, Array] = field(default_factory=dict)
    dial: dict[float, Array] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def pooled(self) -> Array:
        """All organs together."""
        return np.concatenate(list(self.inside.values()))

    def foreign(self) -> dict[str, Array]:
        """All that is outside, organs with some dye among it."""
        return {**self.outside, **{f"dye {amount:g}": y for amount, y in self.dial.items() if amount}}


def build(n: int, seed: int, camera: Any, folder: Path | None = None) -> OodData:
    """Draw every set.

    Args:
        n: spectra in each out-of-distribution set, and in all organs together.
        seed: the same seed gives the same sets.
        camera: the 100-band camera.
        folder: tables of other measured spectra, in the form of the shipped ones.

    Raises:
        ValueError: if the camera has other bands.
    """
    if len(camera.centre_nm) != CENTRE_NM.size or np.abs(np.asarray(camera.centre_nm) - CENTRE_NM).max() > 3:
        raise ValueError(
            f"camera {camera.name!r} has {len(camera.centre_nm)} bands; the sets are made for 'tivita'."
        )
    rng = np.random.default_rng(seed)

    def see(reflectance: Floats) -> Array:
        sd = np.sqrt(np.clip(reflectance, 0, None) / _SNR**2 + _READ_NOISE**2 / 9)
        return np.asarray(reflectance + sd * rng.standard_normal(reflectance.shape), dtype=np.float32)

    organs, skin, dyed = _curves(folder)
    data = OodData()
    shares = np.array_split(np.arange(n), len(organs))
    for (name, spectrum), share in zip(organs.items(), shares, strict=True):
        data.inside[name] = see(_subjects(spectrum, share.size, rng))

    def tissue() -> Floats:
        clean = [_subjects(s, share.size, rng) for s, share in zip(organs.values(), shares, strict=True)]
        return np.concatenate(clean)

    for name, curve in dyed.items():
        data.outside[name] = see(_subjects(curve, n, rng))
    for name, reflectance in _phantoms(n, rng).items():
        data.outside[f"phantom {name}"] = see(reflectance)
    for name, spectrum in skin.items():
        data.outside[name] = see(_subjects(spectrum, n, rng))
    data.outside["nist skin"] = see(_nist_skin(n, rng))
    for name, disturb in _disturbances(rng).items():
        data.outside[name] = see(disturb(tissue()))
    for name, disturb in _faults(rng).items():
        data.outside[name] = disturb(see(tissue())).astype(np.float32)
    for concentration in DYE_CONCENTRATIONS:
        data.dial[concentration] = see(tissue() * np.exp(-concentration * _dye()))
    # Last, so that the draws of all other sets are those of former tables.
    data.outside["wrong pass-band"] = see(_leaking(tissue()))
    data.notes = dict(_NOTES)
    return data


Curve = tissue_spectra.Curve


def _curves(folder: Path | None) -> tuple[dict[str, list[Curve]], dict[str, Curve], dict[str, Curve]]:
    """Organs, skin and dyed tissue at the bands, from the shipped tables or from a folder of such tables."""
    organs, skin, dyed = tissue_spectra.organs(folder), {}, {}
    for label, curve in tissue_spectra.curves(folder).items():
        if "skin" in label:
            skin[label] = _at_bands(curve)
        elif "icg" in label:
            dyed[label] = _at_bands(curve)
    return {name: [_at_bands(c) for c in found] for name, found in organs.items()}, skin, dyed


def _at_bands(curve: Curve) -> Curve:
    """A curve at the bands; where it ends up to 5 nm before them its last value holds."""
    wavelength, *rows = curve
    if wavelength[0] > CENTRE_NM[0] + 5 or wavelength[-1] < CENTRE_NM[-1] - 5:
        raise ValueError(f"a curve covers {wavelength[0]:g} to {wavelength[-1]:g} nm, expected 500 to 1000.")
    return Curve(CENTRE_NM, *(np.interp(CENTRE_NM, wavelength, row) for row in rows))


def _subjects(curves: Curve | list[Curve], n: int, rng: np.random.Generator) -> Floats:
    """Reflectance of ``n`` subjects around measured means, shape ``(n, 100)``."""
    several = curves if isinstance(curves, list) else [curves]
    shares = np.array_split(np.arange(n), len(several))
    drawn = [tissue_spectra.draw_subjects(c, s.size, rng) for c, s in zip(several, shares, strict=True)]
    return _expose(np.concatenate(drawn), n, rng)


def _expose(shape: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Spectra of the given shape at random mean reflectance."""
    level = np.exp(rng.uniform(*np.log(_EXPOSURE), size=(n, 1)))
    return level * shape / shape.mean(1, keepdims=True)


def _phantoms(n: int, rng: np.random.Generator) -> dict[str, Floats]:
    """Slabs in air with the measured coefficients, absorption and scattering varied by 5 % a specimen."""
    sets = {}
    for name, slab in tissue_spectra.phantoms().items():
        specimens = min(n, 25)
        spread = np.exp(0.05 * rng.standard_normal((2, specimens, 1)))
        coefficients = [
            torch.as_tensor(np.interp(CENTRE_NM, slab.wavelength_nm, mu) * spread[i])[..., None]
            for i, mu in enumerate((slab.mu_a_per_cm, slab.mu_s_per_cm))
        ]
        g, thickness, index = (
            torch.tensor(v, dtype=torch.float64) for v in ([slab.g], [slab.thickness_cm], slab.n)
        )
        seen = simulate_layers(*coefficients, g, thickness, index, num_directions=16).diffuse.numpy()
        sets[name.replace("_material", "").replace("_", " ")] = seen[np.arange(n) % specimens]
    return sets


def _nist_skin(n: int, rng: np.random.Generator) -> Floats:
    """Forearm skin of fifty people, the specular part taken off, at random exposure."""
    wavelength, curves = tissue_spectra.subjects("nist_skin_001_050")
    fresnel = (0.4 / 2.4) ** 2
    people = np.stack([np.interp(CENTRE_NM, wavelength, curve) - fresnel for curve in curves.values()])
    return _expose(people[np.arange(n) % len(people)], n, rng)


def _disturbances(rng: np.random.Generator) -> dict[str, Callable[[Floats], Floats]]:
    """What happens to the light before the sensor adds its noise."""
    tilt = (CENTRE_NM - 750) / 250
    halogen, led = _halogen(), _white_led()
    ratio = led / halogen / (led / halogen).mean()
    blood = _blood_film()

    def shifted(nm: float) -> Callable[[Floats], Floats]:
        return lambda y: np.stack([np.interp(CENTRE_NM + nm, CENTRE_NM, row) for row in y])

    return {
        **{f"axis {nm:+g} nm": shifted(nm) for nm in (-5.0, -2.5, 2.5, 5.0)},
        "stray light 0.05": lambda y: y + 0.05,
        "smoke": lambda y: y + rng.uniform(0.05, 0.2, (len(y), 1)) * (CENTRE_NM / 500) ** -1.5,
        "film of blood": lambda y: y * np.exp(-rng.uniform(0.5, 2, (len(y), 1)) * blood),
        "wrong camera": lambda y: _blurred(y, shift_nm=25.0, fwhm_nm=40.0),
        "white balance tilt": lambda y: y * (1 + rng.choice([-0.2, 0.2], (len(y), 1)) * tilt),
        "white balance led": lambda y: y * ratio,
        "specular": lambda y: y + rng.uniform(0.1, 0.5, (len(y), 1)),
    }


def _faults(rng: np.random.Generator) -> dict[str, Callable[[Array], Floats]]:
    """What happens on and after the sensor."""

    def saturated(y: Array) -> Floats:
        # The sensor's ceiling lies at the 50th to 90th of the 100 bands in order of brightness.
        ceiling = rng.integers(50, 91, (len(y), 1))
        return np.minimum(y, np.take_along_axis(np.sort(y, axis=1), ceiling, axis=1))

    def dark(y: Array) -> Floats:
        signal = y / y.mean(1, keepdims=True) * _READ_NOISE * rng.uniform(1, 3, (len(y), 1))
        return np.asarray(signal + _READ_NOISE * rng.standard_normal(y.shape))

    return {
        "saturated": saturated,
        "dark": dark,
        "shuffled bands": lambda y: rng.permuted(y.astype(np.float64), axis=1),
    }


def _blurred(y: Floats, shift_nm: float, fwhm_nm: float) -> Floats:
    """The spectra seen by broad bands that sit elsewhere; the ends of the range are held."""
    sigma = fwhm_nm / (8 * np.log(2)) ** 0.5
    weights = np.exp(-0.5 * ((CENTRE_NM[:, None] + shift_nm - CENTRE_NM) / sigma) ** 2)
    return np.asarray(y @ (weights / weights.sum(1, keepdims=True)).T)


def _leaking(y: Floats) -> Floats:
    """A fifth of what each band sees is light from above 800 nm, which the declared pass-band leaves out."""
    return np.asarray(0.8 * y + 0.2 * y[:, CENTRE_NM > 800].mean(1, keepdims=True))


def _dye() -> Floats:
    """Absorbance of a dye that no tissue holds: a Gaussian band at 660 nm, 50 nm wide at half maximum."""
    return np.asarray(np.exp(-4 * np.log(2) * ((CENTRE_NM - 660) / 50) ** 2))


def _blood_film() -> Floats:
    """Absorbance of 50 µm of whole blood on the tissue, seen twice."""
    return np.asarray(2 * 50e-4 * absorption_per_cm("oxyhaemoglobin", CENTRE_NM))


def _halogen() -> Floats:
    """Relative spectrum of a halogen lamp: Planck's law at 3000 K."""
    x = CENTRE_NM * 1e-9
    return np.asarray(x**-5 / np.expm1(1.438777e-2 / (x * 3000)) / 1e30)


def _white_led() -> Floats:
    """Relative spectrum of a white LED, drawn: blue pump, yellow phosphor, little infrared."""
    pump = 0.8 * np.exp(-0.5 * ((CENTRE_NM - 450) / 10) ** 2)
    phosphor = np.exp(-0.5 * ((CENTRE_NM - 570) / 60) ** 2)
    return np.asarray(pump + phosphor + 0.02)


_NOTES = {
    "pig kidney_icg": "measured mean and spread of pig kidney after indocyanine green",
    "phantom background dark": "coefficients end at 900 nm and are held above (the last 20 bands)",
    "phantom background light": "coefficients end at 900 nm and are held above (the last 20 bands)",
    "phantom inclusion": "coefficients end at 900 nm and are held above (the last 20 bands)",
    "nist skin": "integrating sphere, whole range measured; specular 0.028 (n = 1.4) subtracted",
    "human skin": "same camera as the organs; outside for an organ model",
    "pig skin": "same camera as the organs; outside for an organ model",
    "wrong camera": "bands 25 nm further and 40 nm wide; the last 25 nm hold the end of the range",
    "wrong pass-band": "a fifth of the light of each band is from above 800 nm",
    "white balance led": "white reference taken under halogen, image under a white LED; lamp spectra drawn",
    "dark": "mean signal one to three times the read noise",
}
