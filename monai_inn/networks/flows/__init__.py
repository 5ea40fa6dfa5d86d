"""Bijections, couplings, and the distributions that they make."""
