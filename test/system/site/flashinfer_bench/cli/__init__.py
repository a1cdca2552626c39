"""Stands in for flashinfer-bench in tests: the command line and the trace files of its `run`, and no kernel."""
