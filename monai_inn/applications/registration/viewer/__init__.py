"""Poses in the browser."""
