"""Retraining methods: one module each, one signature."""
