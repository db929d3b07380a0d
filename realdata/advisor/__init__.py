"""Advice on a user's tasks: the rank that fine-tuning needs, and whether meta-learned retraining would help."""
