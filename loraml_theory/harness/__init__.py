"""The software around the mathematics: settings, folders, processes, pages, and a user's files.

The mathematics does not import this package, and nothing here imports torch, pyarrow or matplotlib at its top.
"""
