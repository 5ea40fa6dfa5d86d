"""From curves to parameters: what networks see of curves, and the fits and likelihoods beside them."""
