"""Trained weights of FrEIA."""
