"""The method and the theory on real data: findings with intervals, beside the theorems that `paper_checks` verifies."""
