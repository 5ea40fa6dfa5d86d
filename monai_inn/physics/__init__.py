"""Forward models: chromophores, layered media, cameras. Plain functions on arrays, no networks."""
