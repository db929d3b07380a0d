"""The paper's second synthetic study: a two-layer network in place of the linear model."""
