"""Half-digit completion: the linear model on real images."""
