"""Proofs by computation: strict spurious minima (ML-5), descent at saddles (ML-4), ML-3 for all structures.

The first two in ball arithmetic:

- `prove` proves that a strict local minimum with f > 0 lies near a point, `search` looks for such points, and
  `certificate` writes what was proved as a file;
- `check` verifies such a file with the integers of Python alone and shares no code with the rest;
- `forgeries` are certificates that fail in one step of the proof alone, for tests of a checker;
- `critical_points` proves what every critical point at k = 1 is;
- `optimum` encloses the least loss of fine-tuning (FT-1);
- `saddles` encloses stationary points at T = 2 and bounds their curvature along an escape direction.

By identities between polynomials:

- `minors` are those that vanish where the loss of ML-3 is 0, `identities` finds how they give 0 for the base's distance
  from the truth, and `theorem` writes it as a file;
- `check_theorem` verifies such a file, as `check` does, and `coq` writes it for that proof assistant.

All but the two checkers and `coq` need python-flint (the extra ``exact``). docs/certificates.md has the mathematics.
"""
