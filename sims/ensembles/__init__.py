"""Whole ensembles of structures, and counts of those on which a statement holds."""
