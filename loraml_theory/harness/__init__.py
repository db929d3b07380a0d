"""What runs around the mathematics: settings, folders, processes, pages, and the files that a user gives.

The mathematics does not import this package, and nothing here imports torch, pyarrow or matplotlib at its top.
"""
