"""Evidence for claims: assumptions, measured evidence of every kind, and the budget of errors."""
