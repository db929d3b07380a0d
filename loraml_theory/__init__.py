r"""The linear theory of meta-learning with low-rank adapters (LoRA-ML), as pure functions on arrays.

Tasks ``y = W_t x + eps`` have parameters ``W_t = A* + U_t* U_t*^T``: one shared base and one low-rank shift
each. The way through the package is: truth (`structure`, `zoo`) -> what data say about it (`moments`) ->
retraining losses (`objectives`) -> their minimisers (`closed_forms`, `solvers`) -> predicted errors
(`rates`), with `landscape` and `spectra` to judge points and ranks, and `testing` for Hypothesis strategies.

Arrays may come from any array-API library (NumPy, torch, CuPy) in float64, with any leading batch axes.

Examples
--------
>>> import numpy as np
>>> from loraml_theory import population, spectral_recovery, standard_retraining, zoo
>>> truth = zoo.generic(np.random.default_rng(0), d=10, k=1, T=3)
>>> moments = population(truth.W_retraining)
>>> base = standard_retraining(moments)  # rank k(T+1) away from the unseen task ...
>>> int(np.linalg.matrix_rank(truth.W_test - base, tol=1e-9))
4
>>> base = spectral_recovery(moments.W, truth.k).A  # ... and LoRA-ML's rank k
>>> int(np.linalg.matrix_rank(truth.W_test - base, tol=1e-9))
1
"""

from typing import TYPE_CHECKING

from loraml_theory.lazy_names import lazy

if TYPE_CHECKING:
    from loraml_theory import (
        closed_forms,
        landscape,
        moments,
        objectives,
        rates,
        solvers,
        spectra,
        structure,
        zoo,
    )
    from loraml_theory.adapters import Parameters
    from loraml_theory.closed_forms import (
        fine_tune,
        reduced_rank_regression,
        spectral_recovery,
        standard_retraining,
        two_task_orbit,
    )
    from loraml_theory.moments import Moments, draw, from_samples, population
    from loraml_theory.objectives import FineTuning, LoRAML, StandardRetraining
    from loraml_theory.structure import GroundTruth

__getattr__, __dir__ = lazy(  # so that the command line starts without NumPy
    __name__,
    {
        "": "closed_forms landscape moments objectives rates solvers spectra structure zoo",
        "adapters": "Parameters",
        "closed_forms": "fine_tune reduced_rank_regression spectral_recovery standard_retraining two_task_orbit",
        "moments": "Moments draw from_samples population",
        "objectives": "FineTuning LoRAML StandardRetraining",
        "structure": "GroundTruth",
    },
)

__all__ = [
    "FineTuning",
    "GroundTruth",
    "LoRAML",
    "Moments",
    "Parameters",
    "StandardRetraining",
    "closed_forms",
    "draw",
    "fine_tune",
    "from_samples",
    "landscape",
    "moments",
    "objectives",
    "population",
    "rates",
    "reduced_rank_regression",
    "solvers",
    "spectra",
    "spectral_recovery",
    "standard_retraining",
    "structure",
    "two_task_orbit",
    "zoo",
]
