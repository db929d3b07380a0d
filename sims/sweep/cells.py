"""The work of a sweep: chunks of cells, each computed to rows that depend only on their own seed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product
from math import inf
from time import perf_counter
from typing import Any

import numpy as np

from loraml_theory.adapters import Parameters
from loraml_theory.closed_forms import fine_tune
from loraml_theory.harness.versions import MISSING, versions
from loraml_theory.moments import Moments
from loraml_theory.spectra import rounding_level
from loraml_theory.structure import GroundTruth
from sims import seeding
from sims.engines.engine import Engine
from sims.methods import family
from sims.sweep import predictions
from sims.sweep.plan import Chunk, rank_of
from sims.sweep.retraining import WORDS, Problem, RetrainedBatch, judged_fine_tuning, objection, retrain
from sims.sweep.spec import Spec

HUGE = 1e100  # a larger entry counts as diverged; products of the others do not overflow


def run_chunk(spec: Spec, chunk: Chunk, engine: Engine) -> dict[str, Any]:
    """Compute a chunk; return the columns of `sims.sweep.store` but spec_hash, ordered by n, rank, fine-tuning, seed.

    Of the spec's axes only n, rank and fine_tuning are read.
    """
    began = perf_counter()
    ways = list(product(spec.n, spec.rank, spec.fine_tuning))
    truths, reason = _truths(spec, chunk)
    with np.errstate(all="ignore"):  # divergence is a status, not a warning
        if reason:
            parts = [_not_applicable(reason, len(chunk.seeds))] * len(ways)
        else:
            parts = list(_trials(spec, chunk, engine, truths, ways))
    rows = len(ways) * len(chunk.seeds)
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    setting = {name: [getattr(chunk, name)] * rows for name in ("d", "k", "T", "N", "sigma", "method", "start")}
    return {
        "chunk": [chunk.index] * rows,
        **setting,
        "n": [n for n, _, _ in ways for _ in chunk.seeds],
        "rank_rule": [rank for _, rank, _ in ways for _ in chunk.seeds],
        "rank": [rank_of(rank, chunk) for _, rank, _ in ways for _ in chunk.seeds],
        "fine_tuning": [way for _, _, way in ways for _ in chunk.seeds],
        "kind": [spec.kind] * rows,
        "seed": list(chunk.seeds) * len(ways),
        **columns,
        "seconds": [(perf_counter() - began) / rows] * rows,
        "engine": [engine.name] * rows,
        "device": [engine.device] * rows,
        "versions": [made_with()] * rows,
    }


@cache
def made_with() -> str:
    """Return the versions of Python and of the packages that computed the rows."""
    found = versions("loraml-theory", "numpy", "numba", "torch", "cupy-cuda13x")
    return ", ".join(f"{name} {number}" for name, number in found.items() if number != MISSING)


def _truths(spec: Spec, chunk: Chunk) -> tuple[list[GroundTruth], str]:
    """Draw every seed's truth, or return why the cell is not applicable."""
    setting = {"d": chunk.d, "k": chunk.k, "T": chunk.T}
    reason = objection(chunk.method, chunk.start, N=chunk.N, **setting)
    if reason:
        return [], reason
    try:
        return [seeding.truth(spec.seed, seed, kind=spec.kind, **setting) for seed in chunk.seeds], ""
    except ValueError as problem:
        return [], str(problem)


NUMBERS = (
    *("parameter_error", "in_sample_error", "base_error", "residual_error", "floor", "retraining_loss", "gradient"),
    *("signal_to_noise", "predicted_error", "predicted_in_sample_error", "predicted_floor", "predicted_base_error"),
)


def _not_applicable(reason: str, size: int) -> dict[str, Any]:
    missing = np.full(size, None, object)
    return {
        **dict.fromkeys(NUMBERS, np.full(size, np.nan)),
        "residual_rank": missing,
        "iterations": missing,
        "status": ["not_applicable"] * size,
        "fine_tuning_status": ["not_applicable"] * size,
        "reason": [reason] * size,
    }


def _trials(
    spec: Spec, chunk: Chunk, engine: Engine, truths: list[GroundTruth], ways: list[tuple[float, str, str]]
) -> Iterator[dict[str, Any]]:
    seeded = list(zip(chunk.seeds, truths, strict=True))
    truth = GroundTruth(np.stack([t.A_star for t in truths]), np.stack([t.U_star for t in truths]))
    moments = seeding.stack(
        [seeding.retraining_moments(spec.seed, s, t, N=chunk.N, sigma=chunk.sigma) for s, t in seeded]
    )
    problem = Problem(spec.seed, chunk.seeds, truth, moments, chunk.start, spec.settings)
    retrained = retrain(chunk.method, problem, engine)
    base = _Base(spec, chunk, truths, truth, retrained)
    drawn: dict[float, Moments] = {}
    for n, rule, way in ways:
        rank = rank_of(rule, chunk)
        if rank > chunk.d:
            yield _not_applicable(f"rank = {rank} > d = {chunk.d}", len(seeded))
            continue
        if n not in drawn:
            drawn = {  # ways come in order of n: keep one
                n: seeding.stack(
                    [seeding.fine_tuning_moments(spec.seed, s, t, n=n, sigma=chunk.sigma) for s, t in seeded]
                )
            }
        yield base.rows(engine, drawn[n], n=n, rank=rank, way=way)


class _Base:
    """What all ways of fine-tuning a batch of bases share."""

    def __init__(
        self, spec: Spec, chunk: Chunk, truths: list[GroundTruth], truth: GroundTruth, retrained: RetrainedBatch
    ) -> None:
        """Measure the bases; diverged ones become zero, so that they cannot stop the others."""
        self.alive = (np.abs(retrained.A) <= HUGE).all(axis=(-2, -1)) & (retrained.status != "diverged")
        status = np.where(self.alive, retrained.status, "diverged")
        self.spec, self.chunk, self.truths, self.retrained = spec, chunk, truths, retrained._replace(status=status)
        self.A = np.where(self.alive[:, None, None], retrained.A, 0.0)
        self.W = np.asarray(truth.W_test)
        self.values = np.linalg.svd(self.W - self.A, compute_uv=False)
        level = 10 * np.asarray(rounding_level(truth.scale, chunk.d))
        self.ranks = np.sum(self.values > level[:, None], axis=-1)
        self.error = _squared(self.A - np.asarray(truth.A_star))
        self.family = family(chunk.method)
        self.setting = predictions.Setting(spec.kind, chunk.d, chunk.k, chunk.T)
        self.predicted_base = np.array(
            [predictions.base_error(self.family, self.setting, t, N=chunk.N, sigma=chunk.sigma) for t in truths]
        )

    def rows(self, engine: Engine, moments: Moments, *, n: float, rank: int, way: str) -> dict[str, Any]:
        """Fine-tune and measure; every column is ``(B,)``."""
        fitted, status = self._fine_tuned(engine, moments, rank, way)
        ended = np.isfinite(fitted).all(axis=(-2, -1)) & self.alive
        Delta = np.where(ended[:, None, None], fitted, 0.0) - self.W
        numbers = {
            "parameter_error": np.where(ended, _squared(Delta), np.nan),
            "in_sample_error": np.where(ended, np.sum((Delta @ moments.S) * Delta, axis=(-2, -1)), np.nan),
            "base_error": self.error,
            "residual_error": np.sum(self.values**2, axis=-1),
            "floor": np.sum(self.values[:, rank:] ** 2, axis=-1),
            "signal_to_noise": self._signal_to_noise(n, rank),
        }
        numbers = {name: np.where(self.alive, value, np.nan) for name, value in numbers.items()}
        return {
            **numbers,
            "retraining_loss": self.retrained.loss,
            "gradient": self.retrained.gradient,
            "residual_rank": np.where(self.alive, self.ranks.astype(object), None),
            "iterations": np.full(len(self.A), self.retrained.iterations, object),
            **self._predicted(n, rank),
            "status": self.retrained.status,
            "fine_tuning_status": np.where(self.alive, status, "not_run"),
            "reason": [""] * len(self.A),
        }

    def _fine_tuned(self, engine: Engine, moments: Moments, rank: int, way: str) -> tuple[np.ndarray, np.ndarray]:
        size, settings = len(self.A), self.spec.settings
        if way == "closed-form" or rank == 0:
            return np.asarray(engine.evaluate(fine_tune, moments, self.A, rank)), np.full(size, "converged")
        drawn = np.stack(
            [seeding.fine_tuning_start(self.spec.seed, s, d=self.chunk.d, rank=rank) for s in self.chunk.seeds]
        )
        start = settings.fine_tuning_start * drawn
        end = engine.fine_tune(
            moments,
            self.A,
            Parameters(U=start[:, 0], V=start[:, 1]),
            steps=settings.fine_tuning_steps,
            step_size=settings.fine_tuning_step_size,
        ).end
        codes = np.asarray(engine.evaluate(judged_fine_tuning, moments, self.A, end, settings.tolerance)[0])
        return self.A + end.U @ np.swapaxes(end.V, -2, -1), np.array([WORDS[int(code)] for code in codes])

    def _signal_to_noise(self, n: float, rank: int) -> np.ndarray:
        noise = 2 * self.chunk.sigma * np.sqrt(self.chunk.d / n)
        if rank == 0 or noise == 0:
            return np.full(len(self.A), inf)
        needed = predictions.needed_rank(self.family, self.setting)
        return self.values[:, min(rank, needed or rank) - 1] / noise

    def _predicted(self, n: float, rank: int) -> dict[str, np.ndarray]:
        errors = predictions.fine_tuning_errors(self.family, self.setting, rank=rank, n=n, sigma=self.chunk.sigma)
        floors = np.array([predictions.floor(self.family, self.setting, truth, rank=rank) for truth in self.truths])
        parameter, in_sample = (floors if n == inf else np.full(len(floors), error) for error in errors)
        return {
            "predicted_error": parameter,
            "predicted_in_sample_error": in_sample,
            "predicted_floor": floors,
            "predicted_base_error": self.predicted_base,
        }


def _squared(M: np.ndarray) -> np.ndarray:
    return np.sum(M * M, axis=(-2, -1))
