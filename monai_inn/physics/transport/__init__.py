"""Radiative transfer in layers: solvers in torch and compiled, fluence and reflectance."""
