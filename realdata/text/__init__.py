"""Retraining a model of one's own on tasks that are files of texts, and what it is worth on other tasks."""
