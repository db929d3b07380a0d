"""Checks that were loosened, for `loraml verify --mutants`: claims, their controls and near misses must notice each.

The few that no claim can notice, since they are in the runner or change nothing on drawn instances, name the test that
must.
"""

from __future__ import annotations

import ast

from paper_checks.mutation.edits import Edit, Mutant

OF_RUNNER, OF_SIEVE = "tests/paper_checks/test_verify.py", "tests/paper_checks/evidence/test_resolution.py"
OF_CHECKER = "tests/loraml_theory/certified/test_forgeries.py"


def loosened(what: str, where: str, edit: Edit, *claims: str, test: str = "") -> Mutant:
    """Return a mutant of a function of `paper_checks`."""
    return Mutant(what, f"paper_checks.{where}", edit, claims, test)


def times(factor: str, holding: str, which: tuple[int, int] = (1, 1)) -> Edit:
    """Multiply a tolerance, a product that holds these names."""
    return Edit(ast.Mult, holding, becomes=f"{factor} * it", which=which)


COMPARISON = (
    loosened(
        "either side for both",
        "evidence.evidence:Evidence.outcome",
        Edit(ast.And, "not_above not_below", becomes="not_above or not_below"),
        "SR-1",
    ),
    loosened(
        "no upper side", "evidence.evidence:Evidence.outcome", Edit(ast.LtE, "low", becomes="True"), "SR-1", "ML-1"
    ),
    loosened(
        "no lower side", "evidence.evidence:Evidence.outcome", Edit(ast.GtE, "high", becomes="True"), "SR-3", "SR-4"
    ),
    loosened("disagreement is ignored", "claim:judge", Edit(ast.In, "DISAGREES", becomes="False"), "SR-1"),
    loosened(
        "every control counts as refuted", "verify:_control", Edit(ast.Is, "REFUTED", becomes="True"), test=OF_RUNNER
    ),
    loosened(
        "no near misses are made",
        "verify:_near_misses",
        Edit(ast.Is, "miss", becomes="True"),
        test=OF_RUNNER,
    ),
    loosened(
        "one refuting instance is ignored", "verify:_combine", Edit(ast.In, "REFUTED", becomes="False"), test=OF_RUNNER
    ),
    loosened(
        "inconclusive theorems pass",
        "verify:Run.exit_status",
        Edit(ast.Attribute, "drawn", becomes="False"),
        test=OF_RUNNER,
    ),
    loosened(
        "a resolution of 10^9 times a rounding",
        "evidence.resolution:resolution",
        times("1e6", "ROUNDINGS"),
        test=OF_SIEVE,
    ),
    loosened(
        "ranks are not displaced",
        "evidence.resolution:near_miss",
        Edit(ast.IsNot, "displaced", becomes="False"),
        test=OF_SIEVE,
    ),
)

MEASURES = (
    loosened(
        "10^4 times the tolerance of what vanishes",
        "evidence.measure:zero_evidence",
        times("1e4", "condition factor"),
        "SR-1",
        "ML-2",
        "ML-3",
    ),
    loosened(
        "what vanishes is never decided",
        "evidence.measure:zero_evidence",
        Edit(ast.Lt, "tolerance", becomes="False"),
        "SR-1",
    ),
    loosened(
        "a cut of 10^5 roundings for ranks",
        "evidence.measure:inertia_evidence",
        Edit(ast.Call, "level", becomes="1e5 * it"),
        "SR-2",
        "ML-8",
    ),
    loosened(
        "a rounding level 10^4 times as high",
        "evidence.measure:level",
        Edit(ast.Call, "rounding_level", becomes="1e4 * it"),
        "SR-2",
    ),
    loosened(
        "ranks are compared with themselves",
        "evidence.measure:inertia_evidence",
        Edit(ast.Name, "expected", becomes="low", which=(2, 2)),
        "SR-2",
    ),
    loosened(
        "10^3 times the bias of a mean",
        "evidence.measure:mean_evidence",
        times("1e3", "bias rounding predicted"),
        "FT-2",
        "SR-4",
    ),
    loosened(
        "an interval three times as wide",
        "evidence.measure:mean_evidence",
        times("3", "quantile error"),
        "FT-2",
        "SR-4",
    ),
    loosened(
        "the interval reaches beyond the prediction",
        "evidence.measure:mean_evidence",
        Edit(ast.Add, "mean half", becomes="predicted + right", which=(1, 1)),
        "FT-2",
        "SR-4",
    ),
    loosened(
        "a level of 10^-12 for every interval",
        "evidence.error_budget:quantile",
        Edit(ast.Div, "FALSE_ALARM", becomes="it / 1e12"),
        "FT-2",
    ),
    loosened(
        "the rank of a minimiser by a cut of 10^-2",
        "claims.ml_1:_largest_rank",
        Edit(ast.Call, "level", becomes="1e13 * it"),
        "ML-1",
    ),
    loosened(
        "10^6 times the tolerance of derivatives",
        "evidence.derivatives:derivative_evidence",
        Edit(ast.Constant, "1e-12", becomes="1e-6"),
        "ML-4",
        "ML-5",
    ),
    loosened(
        "zeros over Q are not counted",
        "evidence.exact_evidence:zero",
        Edit(ast.Call, "non_zero", becomes="0", which=(1, 1)),
        test="tests/paper_checks/evidence/test_exact_evidence.py",
    ),
    loosened(
        "ranks over Q are compared with themselves",
        "evidence.exact_evidence:signs",
        Edit(ast.Name, "expected", becomes="count"),
        test="tests/paper_checks/evidence/test_exact_evidence.py",
    ),
    loosened(
        "misfits of 10^-2 are global minima",
        "evidence.minimisers:global_ends",
        Edit(ast.Name, "GLOBAL", becomes="1e-2"),
        test="tests/paper_checks/evidence/test_minimisers.py",
    ),
)

STANDARD = (
    loosened("10^9 times the tolerance of the Hessian", "claims.sr_1:check", times("1e9", "1e-14"), "SR-1"),
    loosened(
        "10^5 times the tolerance of the symmetric floor",
        "claims.sr_2:_symmetric_floor",
        times("1e5", "100 left"),
        "SR-2",
    ),
    loosened(
        "10^4 times the tolerance of the closed form", "claims.sr_3:_population", times("1e4", "30 error"), "SR-3"
    ),
    loosened("10^4 times the tolerance of Newton's ends", "claims.sr_3:_population", times("1e4", "100 left"), "SR-3"),
    loosened(
        "a floor's tolerance of 0.1 for samples",
        "claims.sr_3:_samples",
        Edit(ast.Mult, "30 error", becomes="0.1"),
        "SR-3",
    ),
    loosened(
        "a floor's tolerance of 0.1",
        "claims.sr_4:_floor",
        Edit(ast.Mult, "30 error", becomes="0.1", which=(1, 2)),
        "SR-4",
    ),
    loosened(
        "a slope's tolerance of one more",
        "evidence.task_growth:slope_evidence",
        Edit(ast.Mult, "BIAS rounding", becomes="it + 1"),
        "SR-4",
        "ML-7",
    ),
    loosened(
        "a slope's interval three times as wide",
        "evidence.task_growth:slope_evidence",
        times("3", "quantile relative"),
        "SR-4",
    ),
    loosened(
        "10^3 times the tolerance of one task's floor", "claims.sr_5:_one_task", times("1e3", "apart level"), "SR-5"
    ),
    loosened(
        "a bias of 0.1 in the mean floor", "claims.sr_5:_mean", Edit(ast.Constant, "1e-09", becomes="0.1"), "SR-5"
    ),
)

META = (
    loosened("10^6 times the tolerance of the group", "claims.ml_2:_converse", times("1e6", "10 tolerance"), "ML-2"),
    loosened("zero eigenvalues below 0.1", "claims.ml_3:_isolated", times("1e12", "spectrum 1000.0"), "ML-3"),
    loosened(
        "any changed proof is valid", "evidence.theorems:_is_valid", Edit(ast.Constant, "False", becomes="True"), "ML-3"
    ),
    loosened(
        "proofs are not looked at",
        "evidence.theorems:every_independent_structure",
        Edit(ast.And, "proved predicted", becomes="proved < predicted"),
        "ML-3",
    ),
    loosened(
        "trapped only beyond 10^12",
        "claims.ml_4:check",
        Edit(ast.Gt, "misfit cut", becomes="d.misfit**2 > 1e12 * cut"),
        "ML-4",
    ),
    loosened(
        "misfits of 10^-2 are global minima of two tasks",
        "claims.ml_4:check",
        Edit(ast.Name, "GLOBAL", becomes="1e-2", which=(1, 2)),
        "ML-4",
    ),
    loosened("a value above -1 is above 0", "claims.ml_5:_offered", Edit(ast.Div, "FAR", becomes="-1.0"), "ML-5"),
    loosened(
        "a gradient of 10^-2 is stationary", "claims.ml_5:_offered", Edit(ast.Constant, "1e-12", becomes="1e-2"), "ML-5"
    ),
    loosened(
        "a curvature of -1 is positive", "claims.ml_5:_offered", Edit(ast.Constant, "1e-10", becomes="1.0"), "ML-5"
    ),
    loosened(
        "a curvature above -100 is a minimum",
        "claims.ml_5:_offered",
        Edit(ast.Mult, "1000.0 eps", becomes="-100.0"),
        "ML-5",
    ),
    loosened(
        "10^5 times the tolerance of the certified distance",
        "claims.ml_6:_exact",
        times("1e5", "AMPLIFICATION"),
        "ML-6",
    ),
    loosened(
        "no lower bound of the trace",
        "claims.ml_9:_least",
        Edit(ast.Mult, "30 error", becomes="0.1", which=(1, 2)),
        "ML-9",
    ),
    loosened("ten times the tolerance of the limit", "claims.ml_9:_limit", times("10", "3 _second_order"), "ML-9"),
)

FINE_TUNING = (
    loosened("10^5 times the tolerance of Newton's loss", "claims.ft_1:_rank", times("1e5", "30 rounding"), "FT-1"),
    loosened(
        "10^4 times the tolerance of gradient descent",
        "claims.ft_1:_rank",
        Edit(ast.Constant, "1e-08", becomes="1e-4"),
        "FT-1",
    ),
    loosened(
        "10^5 times the tolerance of the certified loss",
        "claims.ft_1:_certified",
        Edit(ast.Add, "width 2", becomes="1e5 * it"),
        "FT-1",
    ),
    loosened("10^5 times the tolerance at the saddle", "claims.ft_1:_saddle", times("1e5", "30 rounding"), "FT-1"),
)

CHECKER = (
    *(
        Mutant(what, "certified.check:_verify", edit, ("ML-5",))
        for what, edit in (
            ("the Hessian does not vary", Edit(ast.Mult, "8 r longest", becomes="it * 0")),
            ("10^9 times the bound of the slope", Edit(ast.Pow, "mu r", becomes="10**18 * it")),
            ("the value without mu r^2", Edit(ast.Sub, "value mu r", becomes="left")),
            ("any upper bound of the value", Edit(ast.LtE, "value upper", becomes="True")),
            ("a value that may be 0", Edit(ast.Gt, "lower", becomes="True")),
            ("a negative radius", Edit(ast.Gt, "r 0", becomes="True")),
        )
    ),
    Mutant(
        "any row for the gauge", "certified.check:_check_gauge", Edit(ast.Not, "entries", becomes="True"), ("ML-5",)
    ),
    Mutant(
        "any non-zero pivot",
        "certified.check:_check_gauge",
        Edit(ast.Gt, "radius", becomes="entries[i] != 0"),
        test=OF_CHECKER,
    ),
    Mutant(
        "the Hessian is not looked at", "certified.check:_exceeds", Edit(ast.And, "error", becomes="True"), ("ML-5",)
    ),
    Mutant(
        "any identity between polynomials",
        "certified.check_theorem:_check_identity",
        Edit(ast.Call, "any left values", becomes="False"),
        ("ML-3",),
    ),
    Mutant(
        "the last triple for the best",
        "spectra:best_triple_separation",
        Edit(ast.Call, "maximum", becomes="second"),
        test="tests/loraml_theory/test_spectra.py",
    ),
)

LOOSENED = COMPARISON + MEASURES + STANDARD + META + FINE_TUNING + CHECKER
