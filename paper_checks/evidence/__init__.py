"""How a claim is tried: assumptions, measured evidence of every kind, and the budget of errors."""
