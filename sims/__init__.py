"""The linear model at scale: engines that run whole batches of trials, sweeps, figures and rates."""
