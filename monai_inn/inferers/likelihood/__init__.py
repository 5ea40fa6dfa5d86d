"""Posteriors and evidence by the likelihood itself, where a problem has one."""
