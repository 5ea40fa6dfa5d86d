"""Reading X-rays, and bringing them to what the detector of a bundle would have seen."""
