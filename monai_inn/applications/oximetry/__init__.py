"""Oxygen saturation and blood volume from multispectral images."""

PROBLEMS = {"oximetry": f"{__name__}.problem:Oximetry"}
DEMO = f"{__name__}.demo"
