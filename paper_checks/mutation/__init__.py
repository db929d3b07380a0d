"""Wrong formulas made on purpose, and which checks notice them."""
