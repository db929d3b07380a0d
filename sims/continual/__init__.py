"""Chains of tasks on drawn structures: what descent forgets, against its learning rate and its number of steps."""
