"""What updates of trained adapters say: their common span, rank, shared base and noise, for the advisor."""
