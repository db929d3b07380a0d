"""The linear model of continual adaptation: one task after another, what is forgotten, and filters of factors."""
