"""Posteriors that no network has a part in, to compare networks with."""
