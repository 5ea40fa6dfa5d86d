"""Pose of a patient in front of a C-arm, from an X-ray and the CT."""

PROBLEMS = {"registration": "monai_inn.applications.registration.problem:PoseRegistration"}
