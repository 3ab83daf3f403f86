"""The network in torch, for training.

``module`` stacks the layers; ``layers`` runs one layer over a window and selects the backend: the
reference loop over a cell's equation, torch's own kernel, or ``fused``, which compiles a whole
window of any cell (``fused_codegen`` writes its source, ``window_arrays`` lists its arrays,
``window_layout`` makes them for a layer, ``openmp`` gives it threads).
"""
