"""What a network may learn beside the posterior: bottlenecks, codes, invariance over sites."""
