"""Another LAPACK, as good as any: ``pytest -p tests.other_lapack -m libraries``.

All that libraries promise of eigenvalues, singular values and vectors is that they are exact for A + E, with E a few
roundings of A's largest entry; the vectors' signs are free. Here E and the signs are drawn for each matrix, from its
bytes, for NumPy otherwise than for torch. So whatever depends on a basis of a multiple eigenvalue, on a sign or on a
tie comes out differently.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

ROUNDINGS = 4 * 2.0**-53
EIGH: Any = np.linalg.eigh
SVD: Any = np.linalg.svd
Matrices = np.ndarray[Any, np.dtype[np.float64]]


def generator(M: Matrices, library: str) -> np.random.Generator:
    digest = hashlib.blake2b(np.ascontiguousarray(M).tobytes() + library.encode(), digest_size=8)
    return np.random.default_rng(int.from_bytes(digest.digest(), "little"))


def signs(rng: np.random.Generator, n: int) -> Matrices:
    return rng.choice([-1.0, 1.0], n)


def eigh_of_one(M: Matrices, library: str) -> tuple[Matrices, Matrices]:
    rng = generator(M, library)
    values, vectors = EIGH(
        M + np.tril(ROUNDINGS * np.abs(M).max() * rng.uniform(-1, 1, M.shape))
    )  # reads no other half
    return values, vectors * signs(rng, len(values))


def svd_of_one(M: Matrices, library: str) -> tuple[Matrices, Matrices, Matrices]:
    rng = generator(M, library)
    left, values, right = SVD(M + ROUNDINGS * np.abs(M).max() * rng.uniform(-1, 1, M.shape), full_matrices=False)
    turn = signs(rng, len(values))
    return left * turn, values, turn[:, None] * right


def functions(library: str) -> dict[str, Callable[..., Any]]:
    """Return what replaces a library's functions, for arrays of NumPy; what is not for these keeps its own."""
    eigen = np.vectorize(lambda M: eigh_of_one(M, library), signature="(d,d)->(d),(d,d)")
    singular = np.vectorize(lambda M: svd_of_one(M, library), signature="(m,n)->(m,k),(k),(k,n)")

    def svd(M: Matrices, full_matrices: bool = True, compute_uv: bool = True, **options: Any) -> Any:
        if not usual(M) or (full_matrices and compute_uv) or options:
            return SVD(M, full_matrices=full_matrices, compute_uv=compute_uv, **options)
        parts = singular(M)
        return type(SVD(np.eye(1)))(*parts) if compute_uv else parts[1]

    def eigh(M: Matrices, UPLO: str = "L") -> Any:
        return type(EIGH(np.eye(1)))(*eigen(M)) if usual(M) and UPLO == "L" else EIGH(M, UPLO)

    return {
        "eigh": eigh,
        "eigvalsh": lambda M, UPLO="L": eigh(M, UPLO)[0],
        "svd": svd,
        "svdvals": lambda M: svd(M, compute_uv=False),
    }


def usual(M: Any) -> bool:
    return isinstance(M, np.ndarray) and M.dtype == np.float64 and M.size > 0 and bool(np.all(np.isfinite(M)))


def through_numpy(replaced: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """Return torch's function, replaced for matrices of float64 on the CPU."""
    import torch

    def replacement(M: Any, *options: Any, **named: Any) -> Any:
        if M.dtype != torch.float64 or M.device.type != "cpu" or M.requires_grad:
            return replaced(M, *options, **named)
        found = function(M.numpy(), *options, **named)
        return torch.asarray(found) if isinstance(found, np.ndarray) else tuple(map(torch.asarray, found))

    return replacement


def pytest_configure() -> None:
    import array_api_compat.numpy.linalg
    import array_api_compat.torch.linalg
    import torch

    for name, function in functions("numpy").items():
        for module in (np.linalg, array_api_compat.numpy.linalg):
            setattr(module, name, function)
    for name, function in functions("torch").items():
        replacement = through_numpy(getattr(torch.linalg, name), function)
        for module in (torch.linalg, array_api_compat.torch.linalg):
            setattr(module, name, replacement)
