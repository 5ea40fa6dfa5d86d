"""Densities of observations of several classes, and what they say about the class."""
