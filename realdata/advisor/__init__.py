"""Advice on one's own tasks: which rank fine-tuning needs, and whether meta-learned retraining would help."""
