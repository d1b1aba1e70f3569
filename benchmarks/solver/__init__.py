"""Time, memory and accuracy of ``gpu_solver``: run ``python -m benchmarks.solver --help``.

Every method of ``gpu_solver.METHODS`` is measured, so a new one needs no change here. Nothing in
this package asserts a time: it prints tables, and writes JSON and a plot.
"""
