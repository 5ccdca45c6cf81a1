"""The figures of runs and data sets, one module each."""
