"""Runs a trained network forward, for writing and scoring.

``numpy_engine`` is the readable reference, ``compiled_engine`` the fast one on a CPU and
``cuda_engine`` the one on a GPU. ``step_codegen`` writes one step of a cell as source;
``instructions`` strings compiled steps together into one call.
"""
