"""Statistics of tasks' updates for the advisor: their common span, rank, shared base and noise."""
