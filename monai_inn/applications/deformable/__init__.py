"""Displacements of tissue between two images."""

PROBLEMS = {"deformable_registration": f"{__name__}.problem:DeformableRegistration"}
