"""Oxygen saturation and blood volume from multispectral images."""

PROBLEMS = {"oximetry": "monai_inn.applications.oximetry.problem:Oximetry"}
