"""Deliberately wrong formulas, and the checks that notice them."""
