"""One function for many files, on all cores of this machine or on a dask cluster.

A cohort is a folder with one result folder per case, a table of all cases, and a record of the run. It knows
neither problems nor verbs: it calls the function that handles a single file.
"""

from monai_inn.cohorts.cases import is_pattern
from monai_inn.cohorts.run import run_cohort

__all__ = ["is_pattern", "run_cohort"]
