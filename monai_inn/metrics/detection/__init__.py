"""Scores of out-of-distribution observations, thresholds, and how well they separate."""
