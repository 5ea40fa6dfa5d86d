"""Whether the model explains an observation, and what is said where it does not."""
