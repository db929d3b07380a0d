"""How errors grow and shrink: fitted slopes, their tables and plots."""
