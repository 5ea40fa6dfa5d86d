"""Classified images in the browser."""
