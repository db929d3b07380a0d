"""The names of the methods: the words of sweeps, of which each belongs to SR or LoRA-ML, and those of the figures."""

FIGURE_NAMES = {"lora-ml": "LoRA-ML", "sr": "SR"}
"""What figures, and tables of their runs, call the two families that sweeps and `loraml_theory.rates` call so."""

COMPARED = tuple(FIGURE_NAMES.values())
"""The two methods that every figure of the paper compares, in the order in which their runs are stacked."""

FAMILIES = {"LoRA-ML": "LoRA-ML", "SR": "standard retraining (SR)"}
"""The titles of their panels."""

TITLES = {
    "sr": "standard retraining",
    "sr-gd": "standard retraining by descent",
    "lora-ml-gd": "LoRA-ML by descent",
    "lora-ml-newton": "LoRA-ML by Newton",
    "lora-ml-spectral": "LoRA-ML, spectral form",
    "lora-ml-exact": "LoRA-ML, exact minimiser",
}
"""The methods of a sweep, by the word for each in a spec and in its rows, with their titles."""


def family(method: str) -> str:
    """Return the family of a sweep's method, ``sr`` or ``lora-ml``."""
    return next(name for name in FIGURE_NAMES if method.startswith(name))
