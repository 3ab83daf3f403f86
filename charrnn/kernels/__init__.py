"""What runs the cells.

``numpy_engine`` runs a whole network forward without torch: for writing and scoring.
``sequence`` runs one layer over a window with gradients, in torch, and chooses what does: the plain
loop over a cell's equation (the reference, any dtype), the library's own kernel where it computes
the same, or the ``scaffold``: any cell's window compiled. Of that ``tracing`` finds the derivative
of a step, ``rows`` writes and compiles all steps, ``gemm``, ``norm`` and ``scalars`` are what they
are made of, ``team`` are the threads that run them.
"""
