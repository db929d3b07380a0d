"""The claims of the paper as executable checks, the runner, the report and the command `loraml`."""

IMPORTS = (
    *("paper_checks.registry", "paper_checks.claims.ft_2", "paper_checks.report.figures", "matplotlib.figure"),
    "scipy.special",
)
"""What the processes that check claims import once for all of them."""
