"""What runs around the mathematics: files that a user gives, read with bounds and refused in one line.

The mathematics does not import this package, and nothing here imports torch, pyarrow or matplotlib at its top.
"""
