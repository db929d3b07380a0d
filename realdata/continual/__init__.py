"""Low-rank adaptation to one task after another: methods, what they forget, and how they compare on text."""
