"""Perfusion from the curves of a contrast agent in tissue and artery."""
