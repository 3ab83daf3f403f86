"""A trained network for other programs, with its equation and without charrnn.

- `equation`: the step of a layer as source code, from the traced equation of its cell
- `onnx_graph`: a step of the whole network as an ONNX graph
- `transformers_folder`: a folder that the library transformers loads; `modeling.py.txt` is the
  network there, `tokenizer_json` its tokenizer
- `writing`: both on disk
"""

from charrnn.export.writing import export

__all__ = ["export"]
