"""All critical points of LoRA-ML at rank one, by a homotopy from those of one generic structure.

- `equations` are the polynomials, their Jacobian and the value;
- `tracking` follows critical points from one structure to another, near infinity in the coordinates of `valley` and the
  orthogonal frames of `frames`;
- `start_sets` are the critical points of generic complex structures, which ship with the package;
- `enumeration` finds all critical points of structures with them;
- `degenerate` says why there are fewer.

`loraml_theory.certified.critical_points` proves what is found. docs/landscape.md has the mathematics.
"""
