"""The linear experiments of the paper and their figures."""
