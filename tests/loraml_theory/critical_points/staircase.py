"""The number of critical points, with multiplicity, by a Gröbner basis modulo a prime, which msolve computes."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

PRIME = 1073741827
Monomial = tuple[int, ...]


def equations(v: np.ndarray, factors: int) -> tuple[list[str], list[str]]:
    """Return variables, and F_t = 0 for whole numbers, the last factors being 0, as msolve reads them."""
    T, m = v.shape
    names = {(t, i): f"u{t}{i}" for t in range(factors) for i in range(m)}
    found = []
    for t in range(factors):
        for i in range(m):
            terms: Counter[tuple[str, ...]] = Counter()
            for j in range(m):
                for s in range(factors):
                    terms[tuple(sorted((names[s, i], names[s, j], names[t, j])))] += T * (s == t) - 1
                terms[names[t, j],] -= int(T * v[t, i] * v[t, j] - v[:, i] @ v[:, j])
            found.append("+".join(f"{c}*{_product(word)}" for word, c in terms.items() if c))
    return list(names.values()), [text.replace("+-", "-") for text in found]


def _product(word: tuple[str, ...]) -> str:
    return "*".join(f"{name}^{power}" for name, power in Counter(word).items())


def leading_monomials(
    msolve: str, variables: Sequence[str], polynomials: Sequence[str], folder: Path
) -> list[Monomial]:
    """Return the leading monomials of the reduced Gröbner basis, graded reverse lexicographic."""
    asked, answered = folder / "in.ms", folder / "out.ms"
    asked.write_text(f"{','.join(variables)}\n{PRIME}\n" + ",\n".join(polynomials) + "\n")
    subprocess.run([msolve, "-g", "1", "-f", str(asked), "-o", str(answered)], check=True, timeout=3000)
    body = re.sub(r"#.*", "", answered.read_text())
    found = []
    for word in re.findall(r"[^\[\],:\s]+", body):
        exponents = dict.fromkeys(variables, 0)
        for factor in word.split("*"):
            name, _, power = factor.partition("^")
            if name in exponents:
                exponents[name] += int(power or 1)
        found.append(tuple(exponents.values()))
    return found


def standard_monomials(leading: Sequence[Monomial]) -> int:
    """Return the number of monomials that no leading one divides: the degree of the ideal; -1 if it is infinite."""
    n = len(leading[0])
    if not all(any(sum(m) == m[i] > 0 for m in leading) for i in range(n)):
        return -1
    return _below(list(leading), n - 1)


def _below(leading: list[Monomial], last: int) -> int:
    """Count in the variables up to `last`, slice by slice of the last one."""
    if any(not any(m[: last + 1]) for m in leading):
        return 0
    if last < 0:
        return 1
    count, power = 0, 0
    while True:
        slice_ = list({m[:last] for m in leading if m[last] <= power})
        inside = _below(slice_, last - 1)
        if not inside:
            return count
        heights = [m[last] for m in leading if m[last] > power]
        ahead = min(heights, default=power + 1)
        count, power = count + inside * (ahead - power), ahead
