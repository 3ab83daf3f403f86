"""From the equation of a cell to machine code, with its derivative. No torch.

``autodiff`` traces a cell's step and derives its gradient, ``codegen`` writes both as numba source,
``cache`` says where compiled code is stored. Generated code calls ``scalar_math``, ``matmul`` and
``layer_norm``, and runs on the threads of ``thread_pool``.
"""
