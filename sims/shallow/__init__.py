"""The paper's second synthetic study: a two-layer network instead of the linear model."""
