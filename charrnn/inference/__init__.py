"""Runs a trained network forward, to generate and score text.

``engine`` says what every engine offers, and ``select`` makes the right one. ``numpy_engine`` is
the readable reference, ``compiled_engine`` the fast one for a CPU, ``cuda_engine`` the one for a
GPU. The compiled engine's parts, from below: ``step_codegen`` writes one step of a cell as source
code; ``instructions`` runs a list of compiled functions in one call; ``packing`` and
``packed_network`` lay out the weights, ``workspace`` the values of a step; ``step_program`` builds
the calls of a step, and ``window_runner`` those of a window.
"""
