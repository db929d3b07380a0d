"""The mutants of `loraml verify --mutants`: wrong formulas, each of which the checks of some claims must refute."""

from __future__ import annotations

from paper_checks.mutation import Mutant

CLOSED_FORMS = (
    Mutant(
        "missing 1/T in the base of standard retraining",
        "closed_forms:standard_retraining",
        "symmetric_power(total, -1)",
        "symmetric_power(total / C.shape[-3], -1)",
        ("SR-1",),
    ),
    Mutant(
        "tasks with unequal N_t weighted equally",
        "closed_forms:standard_retraining",
        "if weights is not None:",
        "if False:",
        ("SR-1",),
    ),
    Mutant(
        "wrong rank: the tail from sigma_{r+2}",
        "closed_forms:best_rank_error",
        "values[..., rank:]",
        "values[..., rank + 1 :]",
        ("SR-3",),
    ),
    Mutant(
        "wrong rank: truncation at r - 1",
        "closed_forms:truncate",
        "rank = _rank_in_range(rank, M)",
        "rank = max(0, _rank_in_range(rank, M) - 1)",
        ("SR-3", "FT-1", "FT-2"),
    ),
    Mutant(
        "truncation without S^{1/2}",
        "closed_forms:reduced_rank_regression",
        "truncate(moments.W @ root, rank) @ inverse_root",
        "truncate(moments.W, rank)",
        ("FT-1",),
    ),
    Mutant(
        "wrong sign of the shift",
        "closed_forms:fine_tune",
        "base + reduced",
        "base - reduced",
        ("SR-3", "FT-2"),
    ),
    Mutant(
        "wrong sign in the boost: a rotation",
        "closed_forms:boost",
        "[[cosh, sinh], [sinh, cosh]]",
        "[[cosh, -sinh], [sinh, cosh]]",
        ("ML-2",),
    ),
    Mutant(
        "wrong sign in the orbit's base",
        "closed_forms:two_task_orbit",
        "transpose(first) - U",
        "transpose(first) + U",
        ("ML-1", "ML-2"),
    ),
    Mutant(
        "wrong block of the oblique projection",
        "closed_forms:_split",
        "[..., :k, :k]",
        "[..., k:, k:]",
        ("ML-6",),
    ),
    Mutant(
        "eigenvalues for their square roots in a factor",
        "closed_forms:psd_factor",
        "xp.sqrt(xp.where(top > 0, top, xp.zeros_like(top)))",
        "xp.where(top > 0, top, xp.zeros_like(top))",
        ("ML-6",),
    ),
)

MOMENTS = (
    Mutant(
        "moments drawn with G L for G L^T",
        "moments:draw",
        "transpose(G)))",
        "transpose(G @ L @ xp.linalg.inv(transpose(L)))))",
        ("FT-2",),
    ),
    Mutant(
        "variance for standard deviation of the noise",
        "moments:draw",
        "error = sigma /",
        "error = sigma**2 /",
        ("FT-2", "ML-7"),
    ),
    Mutant(
        "variance for standard deviation of the inputs",
        "moments:draw",
        "sigma_x / np.sqrt(n) * bartlett",
        "sigma_x**2 / np.sqrt(n) * bartlett",
        ("FT-2",),
    ),
    Mutant(
        "n degrees of freedom for n - i in Bartlett's factor",
        "moments:bartlett_factor",
        "n - diagonal",
        "n + 0 * diagonal",
        ("FT-2",),
    ),
    Mutant(
        "missing 1/N in the second moment",
        "moments:from_samples",
        "S = X @ transpose(X) / n",
        "S = X @ transpose(X)",
        ("SR-1",),
    ),
    Mutant(
        "transposed cross moment",
        "moments:from_samples",
        "(Y @ transpose(X) / n)",
        "transpose(Y @ transpose(X) / n)",
        ("SR-1",),
    ),
    Mutant("S M for M S", "moments:Moments.weigh", "M @ self.S", "self.S @ M", ("FT-1",)),
    Mutant(
        "wrong sign of the residual problem",
        "moments:Moments.around",
        "self.W - base",
        "self.W + base",
        ("SR-3", "FT-2"),
    ),
)

OBJECTIVES = (
    Mutant("missing 1/2 in the loss", "objectives:task_losses", "/ 2", "/ 1", ("SR-3",)),
    Mutant(
        "wrong sign in the gradient of standard retraining",
        "objectives:StandardRetraining.gradient",
        ":] - self.moments.W",
        ":] + self.moments.W",
        ("SR-1",),
    ),
    Mutant(
        "mean for sum in the Hessian of standard retraining",
        "objectives:StandardRetraining.linearise",
        "xp.sum",
        "xp.mean",
        ("SR-1",),
    ),
    Mutant(
        "missing 1/T in the eliminated base",
        "objectives:ProjectedLoRAML._fit",
        "return xp.mean",
        "return xp.sum",
        ("ML-4", "ML-5"),
    ),
    Mutant(
        "wrong sign of the shift in the loss",
        "objectives:LoRAML.loss_gradient",
        "+ shift(at)",
        "- shift(at)",
        ("ML-4", "ML-5"),
    ),
    Mutant(
        "symmetric for asymmetric adapters",
        "adapters:shift",
        "adapters.U if adapters.V is None else adapters.V",
        "adapters.U",
        ("FT-1", "SR-3"),
    ),
    Mutant(
        "G for G^T in the gradient of V",
        "adapters:pull_back",
        "V=transpose(G) @ adapters.U",
        "V=G @ adapters.U",
        ("FT-1",),
    ),
    Mutant(
        "half of the derivative of U U^T",
        "adapters:pull_back",
        "(G + transpose(G)) @ adapters.U",
        "G @ adapters.U",
        ("ML-4", "ML-5"),
    ),
    Mutant(
        "T + 1 for T in the Hessian of LoRA-ML",
        "adapters:population_curvature",
        "2 / T)",
        "2 / (T + 1))",
        ("ML-4",),
    ),
)

LANDSCAPE = (
    Mutant(
        "the wrong end of the spectrum for the way down",
        "landscape:_escape_downwards",
        "-values[..., 0], vectors[..., 0]",
        "-values[..., -1], vectors[..., -1]",
        ("ML-4",),
    ),
    Mutant("wrong sign in the kernel vector", "landscape:_kernel_vector", "-best[..., k:]", "best[..., k:]", ("ML-4",)),
    Mutant("k(k+1)/2 for k(k-1)/2", "landscape:gauge_dimension", "(k - 1)", "(k + 1)", ("ML-3",)),
)

RATES = (
    Mutant(
        "r(d + d) for r(2d - r) degrees of freedom",
        "rates:degrees_of_freedom",
        "(d_out + d_in - rank)",
        "(d_out + d_in)",
        ("FT-2",),
    ),
    Mutant(
        "sigma_x for 1 / sigma_x",
        "rates:parameter_error",
        "(sigma / sigma_x) ** 2",
        "(sigma * sigma_x) ** 2",
        ("FT-2", "SR-4", "ML-7"),
    ),
    Mutant(
        "standard deviation for variance in the rate",
        "rates:parameter_error",
        "(sigma / sigma_x) ** 2",
        "(sigma / sigma_x)",
        ("FT-2", "SR-4", "ML-7"),
    ),
    Mutant(
        "n for n - d - 1 in the rate",
        "rates:parameter_error",
        "(n - d - 1) + rest",
        "n + rest",
        ("FT-2", "SR-4", "ML-7"),
    ),
    Mutant(
        "singular values for their squares above the true rank",
        "rates:excess_rank_degrees",
        "[:, : rank - k] ** 2",
        "[:, : rank - k]",
        ("FT-2",),
    ),
    Mutant("T for T + 1 in the rank", "rates:standard_rank", "k * (T + 1)", "k * T", ("SR-4",)),
    Mutant(
        "the trace without the inverse",
        "rates:base_error",
        "np.sum(1 / spectrum)",
        "np.sum(spectrum)",
        ("ML-7",),
    ),
    Mutant(
        "the projector on the tangent space for the one off it",
        "rates:off_tangent_spectrum",
        "xp.eye(q, dtype=U.dtype, device=device(U)) - inside",
        "inside",
        ("ML-3",),
    ),
    Mutant(
        "positive and negative eigenvalues exchanged",
        "spectra:inertia",
        "bracket(values, level), bracket(-values, level)",
        "bracket(-values, level), bracket(values, level)",
        ("SR-2", "ML-2"),
    ),
)

MUTANTS = CLOSED_FORMS + MOMENTS + OBJECTIVES + LANDSCAPE + RATES
