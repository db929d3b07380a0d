"""Fused kernels: the arithmetic of the engines, each tested equal to `loraml_theory`."""
