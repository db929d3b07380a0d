"""The paper's language experiment: choosing the true reply of a dialogue among twenty, one task per persona."""
