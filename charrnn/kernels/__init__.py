"""What runs the cells.

``numpy_engine`` runs a whole network forward without torch: for writing and scoring.
``sequence`` runs one layer over a window with gradients, in torch: the plain loop over a cell's
equation (the reference, any dtype), or the library's own kernel where it computes the same.
"""
