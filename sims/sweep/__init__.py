"""Sweeps: cells of a spec, computed in any order, stored so that a killed sweep can resume."""
