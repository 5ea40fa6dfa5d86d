"""How the arithmetic of flows is done: products, chunks, plans without gradients."""
