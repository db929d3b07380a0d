"""The mutants of `loraml verify --mutants`: wrong formulas, each of which the checks of some claims must refute."""

from __future__ import annotations

import ast

from paper_checks.mutation.edits import Edit, Mutant

CLOSED_FORMS = (
    Mutant(
        "missing 1/T in the base of standard retraining",
        "closed_forms:standard_retraining",
        Edit(ast.Call, "symmetric_power", becomes="symmetric_power(first / C.shape[-3], second)"),
        ("SR-1",),
    ),
    Mutant(
        "tasks with unequal N_t weighted equally",
        "closed_forms:standard_retraining",
        Edit(ast.IsNot, becomes="False"),
        ("SR-1",),
    ),
    Mutant(
        "wrong rank: the tail from sigma_{r+2}",
        "closed_forms:best_rank_error",
        Edit(ast.Subscript, "rank", becomes="value[..., rank + 1 :]"),
        ("SR-3",),
    ),
    Mutant(
        "wrong rank: truncation at r - 1",
        "closed_forms:truncate",
        Edit(ast.Call, "_rank_in_range", becomes="max(0, it - 1)"),
        ("SR-3", "FT-1", "FT-2"),
    ),
    Mutant(
        "truncation without S^{1/2}",
        "closed_forms:reduced_rank_regression",
        Edit(ast.MatMult, "truncate", becomes="truncate(moments.W, rank)"),
        ("FT-1",),
    ),
    Mutant(
        "wrong sign of the shift",
        "closed_forms:fine_tune",
        Edit(ast.Add, "base", becomes="left - right"),
        ("SR-3", "FT-2"),
    ),
    Mutant(
        "wrong sign in the boost: a rotation",
        "closed_forms:boost",
        Edit(ast.Name, "sinh", becomes="-it", which=(1, 2)),
        ("ML-2",),
    ),
    Mutant(
        "wrong sign in the orbit's base",
        "closed_forms:two_task_orbit",
        Edit(ast.Sub, "A_star", becomes="left + right"),
        ("ML-1", "ML-2"),
    ),
    Mutant(
        "wrong block of the oblique projection",
        "closed_forms:_split",
        Edit(ast.Subscript, "transpose k", becomes="value[..., k:, k:]"),
        ("ML-6",),
    ),
    Mutant(
        "eigenvalues for their square roots in a factor",
        "closed_forms:psd_factor",
        Edit(ast.Call, "sqrt", becomes="first"),
        ("ML-6",),
    ),
)

MOMENTS = (
    Mutant(
        "moments drawn with G L for G L^T",
        "moments:draw",
        Edit(ast.Call, "transpose G", becomes="transpose(first @ L @ xp.linalg.inv(transpose(L)))"),
        ("FT-2",),
    ),
    Mutant(
        "variance for standard deviation of the noise",
        "moments:draw",
        Edit(ast.Div, "sigma sqrt", becomes="left**2 / right"),
        ("FT-2", "ML-7"),
    ),
    Mutant(
        "variance for standard deviation of the inputs",
        "moments:draw",
        Edit(ast.Div, "sigma_x", becomes="left**2 / right"),
        ("FT-2",),
    ),
    Mutant(
        "n degrees of freedom for n - i in Bartlett's factor",
        "moments:bartlett_factor",
        Edit(ast.Sub, "n", becomes="left + 0 * right"),
        ("FT-2",),
    ),
    Mutant(
        "missing 1/N in the second moment",
        "moments:from_samples",
        Edit(ast.Div, "X transpose", becomes="left", which=(1, 2)),
        ("SR-1",),
    ),
    Mutant("transposed cross moment", "moments:from_samples", Edit(ast.Div, "Y", becomes="transpose(it)"), ("SR-1",)),
    Mutant("S M for M S", "moments:Moments.weigh", Edit(ast.MatMult, "M S", becomes="right @ left"), ("FT-1",)),
    Mutant(
        "wrong sign of the residual problem",
        "moments:Moments.around",
        Edit(ast.Sub, "base", becomes="left + right"),
        ("SR-3", "FT-2"),
    ),
)

OBJECTIVES = (
    Mutant("missing 1/2 in the loss", "objectives:task_losses", Edit(ast.Div, "noise", becomes="left / 1"), ("SR-3",)),
    Mutant(
        "wrong sign in the gradient of standard retraining",
        "objectives:StandardRetraining.gradient",
        Edit(ast.Sub, "W", becomes="left + right"),
        ("SR-1",),
    ),
    Mutant(
        "mean for sum in the Hessian of standard retraining",
        "objectives:StandardRetraining.linearise",
        Edit(ast.Attribute, "sum", becomes="value.mean"),
        ("SR-1",),
    ),
    Mutant(
        "missing 1/T in the eliminated base",
        "objectives:ProjectedLoRAML._fit",
        Edit(ast.Attribute, "mean", becomes="value.sum"),
        ("ML-4", "ML-5"),
    ),
    Mutant(
        "wrong sign of the shift in the loss",
        "objectives:LoRAML.loss_gradient",
        Edit(ast.Add, "shift", becomes="left - right"),
        ("ML-4", "ML-5"),
    ),
    Mutant(
        "symmetric for asymmetric adapters",
        "adapters:shift",
        Edit(ast.IfExp, "V", becomes="adapters.U"),
        ("FT-1", "SR-3"),
    ),
    Mutant(
        "G for G^T in the gradient of V",
        "adapters:pull_back",
        Edit(ast.Call, "transpose", becomes="first", which=(2, 2)),
        ("FT-1",),
    ),
    Mutant(
        "half of the derivative of U U^T",
        "adapters:pull_back",
        Edit(ast.Add, "transpose", becomes="left"),
        ("ML-4", "ML-5"),
    ),
    Mutant(
        "T + 1 for T in the Hessian of LoRA-ML",
        "adapters:population_curvature",
        Edit(ast.Div, becomes="left / (right + 1)"),
        ("ML-4",),
    ),
)

LANDSCAPE = (
    Mutant(
        "the wrong end of the spectrum for the way down",
        "landscape:_escape_downwards",
        Edit(ast.Tuple, "values vectors", becomes="(-values[..., -1], vectors[..., -1])"),
        ("ML-4",),
    ),
    Mutant(
        "wrong sign in the kernel vector", "landscape:_kernel_vector", Edit(ast.USub, "k", becomes="operand"), ("ML-4",)
    ),
    Mutant("k(k+1)/2 for k(k-1)/2", "landscape:gauge_dimension", Edit(ast.Sub, "k", becomes="left + right"), ("ML-3",)),
)

RATES = (
    Mutant(
        "r(d + d) for r(2d - r) degrees of freedom",
        "rates:degrees_of_freedom",
        Edit(ast.Sub, "rank", becomes="left"),
        ("FT-2",),
    ),
    Mutant(
        "sigma_x for 1 / sigma_x",
        "rates:parameter_error",
        Edit(ast.Div, "sigma sigma_x", becomes="left * right"),
        ("FT-2", "SR-4", "ML-7"),
    ),
    Mutant(
        "standard deviation for variance in the rate",
        "rates:parameter_error",
        Edit(ast.Pow, "sigma", becomes="left"),
        ("FT-2", "SR-4", "ML-7"),
    ),
    Mutant(
        "n for n - d - 1 in the rate",
        "rates:parameter_error",
        Edit(ast.Sub, "n d 1", becomes="n"),
        ("FT-2", "SR-4", "ML-7"),
    ),
    Mutant(
        "singular values for their squares above the true rank",
        "rates:excess_rank_degrees",
        Edit(ast.Pow, "svd", becomes="left"),
        ("FT-2",),
    ),
    Mutant(
        "standard deviation for variance in the mean shift",
        "rates:_floor_of_spectrum",
        Edit(ast.Pow, "scale", becomes="left"),
        ("SR-5",),
    ),
    Mutant(
        "without the k smallest for the k largest",
        "rates:_floor_of_spectrum",
        Edit(ast.Subscript, "sort d k", becomes="value[..., k:]"),
        ("SR-5",),
    ),
    Mutant("T for T + 1 in the rank", "rates:standard_rank", Edit(ast.Add, "T", becomes="left"), ("SR-4",)),
    Mutant(
        "wrong sign of the off-tangent part in the limit of the trace",
        "rates:least_trace",
        Edit(ast.Sub, "1 b", becomes="left + right"),
        ("ML-9",),
    ),
    Mutant(
        "the symmetry of the shifts ignored in the limit of the trace",
        "rates:least_trace",
        Edit(ast.Sub, "d k 1 2", becomes="left"),
        ("ML-9",),
    ),
    Mutant("the trace without the inverse", "rates:base_error", Edit(ast.Div, "1", becomes="right"), ("ML-9",)),
    Mutant(
        "the projector on the tangent space for the one off it",
        "rates:off_tangent_spectrum",
        Edit(ast.Sub, "eye", becomes="right"),
        ("ML-3",),
    ),
    Mutant(
        "positive and negative eigenvalues exchanged",
        "spectra:inertia",
        Edit(ast.Call, "Inertia", becomes="Inertia(second, first)"),
        ("SR-2", "ML-2"),
    ),
)

EXCESS_RANK = (
    Mutant(
        "one task fewer for adapters of rank r",
        "excess_rank:tasks_needed",
        Edit(ast.Add, "rank k", becomes="left + 2"),
        ("ML-8",),
    ),
    Mutant(
        "wrong sign of the matrix that the base shares",
        "excess_rank:family_point",
        Edit(ast.Sub, "A_star", becomes="left + right"),
        ("ML-8",),
    ),
    Mutant(
        "2T for 2T - 1 in the base outside the family",
        "excess_rank:outside_family",
        Edit(ast.Sub, "2 T 1", becomes="left"),
        ("ML-8",),
    ),
    Mutant(
        "columns and rows of the same task in the base outside the asymmetric family",
        "excess_rank:outside_asymmetric_family",
        Edit(ast.Add, "q i", becomes="right"),
        ("ML-8",),
    ),
)

CONTINUAL = (
    Mutant(
        "earlier pairs left out of the sum",
        "continual.chains:incremental",
        Edit(ast.Add, "shift", becomes="right"),
        ("CL-4",),
    ),
    Mutant(
        "rows of earlier updates not kept out",
        "continual.chains:Room.take",
        Edit(ast.Add, "occupied", becomes="left"),
        (
            "CL-5",
            "CL-6",
        ),
    ),
    Mutant(
        "the target not projected on the complement",
        "continual.chains:outside",
        Edit(ast.MatMult, "C Q", becomes="left"),
        ("CL-5",),
    ),
    Mutant(
        "m + 1 steps for m",
        "continual.chains:descent",
        Edit(ast.Pow, "steps", becomes="left ** (right + 1)"),
        ("CL-2",),
    ),
    Mutant(
        "sum for mean of the tasks' losses",
        "continual.chains:pooled",
        Edit(ast.Div, "T", becomes="left"),
        ("CL-3",),
    ),
    Mutant(
        "forgetting counted from before the task was learnt",
        "continual.chains:forgotten",
        Edit(ast.Add, "j 1", becomes="left", which=(1, 1)),
        (
            "CL-1",
            "CL-5",
            "CL-7",
        ),
    ),
    Mutant(
        "wrong sign of the step on the full shift",
        "continual.descents:shift_descent",
        Edit(ast.Sub, "step_size", becomes="left + right"),
        ("CL-2",),
    ),
    Mutant(
        "rho for 1 - rho",
        "continual.predictions:between",
        Edit(ast.Sub, "rho", becomes="right"),
        ("CL-2",),
    ),
    Mutant(
        "wrong sign in the slope at convergence",
        "continual.predictions:slope_at_convergence",
        Edit(ast.Sub, "before", becomes="left + right"),
        ("CL-2",),
    ),
    Mutant(
        "a task's own update counted as forgetting",
        "continual.predictions:orthogonal_forgetting",
        Edit(ast.Add, "j 1", becomes="left"),
        ("CL-5",),
    ),
    Mutant(
        "T - 1 for T - 1 - s in the mean excess",
        "continual.predictions:expected_excess",
        Edit(ast.Sub, "T 1 s", becomes="left"),
        ("CL-6",),
    ),
    Mutant(
        "theta for theta - 1 in the Haar filter",
        "continual.filters:haar",
        Edit(ast.Sub, "theta", becomes="left"),
        ("CL-12",),
    ),
    Mutant(
        "standard deviation for variance in equation 7",
        "continual.filters:wiener",
        Edit(ast.Pow, "level", becomes="left"),
        ("CL-9",),
    ),
    Mutant(
        "the Gram matrix of A for that of B in the heat filter",
        "continual.filters:heat",
        Edit(ast.MatMult, "transpose B", becomes="A @ transpose(A)"),
        ("CL-11",),
    ),
)

MUTANTS = CLOSED_FORMS + MOMENTS + OBJECTIVES + LANDSCAPE + RATES + EXCESS_RANK + CONTINUAL
