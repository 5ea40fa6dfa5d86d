"""Displacements of tissue between two images."""

PROBLEMS = {"deformable_registration": "monai_inn.applications.deformable.problem:DeformableRegistration"}
