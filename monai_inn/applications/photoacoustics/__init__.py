"""Oxygen saturation of vessels in depth, from photoacoustic spectra."""

PROBLEMS = {"photoacoustics": f"{__name__}.problem:Photoacoustics"}
DEMO = f"{__name__}.demo"
