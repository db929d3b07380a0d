"""Proofs by computation: strict spurious minima (ML-5) and descent directions at saddles (ML-4), in ball arithmetic.

- `prove` proves that a strict local minimum with f > 0 lies near a point, `search` looks for such points, and
  `certificate` writes what was proved as a file;
- `check` verifies such a file with the integers of Python alone and shares no code with the rest;
- `optimum` encloses the least loss of fine-tuning (FT-1);
- `saddles` encloses stationary points at T = 2 and bounds their curvature along an escape direction.

All but `check` need python-flint (the extra ``exact``). docs/certificates.md has the mathematics.
"""
