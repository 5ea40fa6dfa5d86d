"""Ranks, coverage and widths of posteriors."""
