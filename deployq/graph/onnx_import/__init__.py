"""Float ``.onnx`` files to the same captured graph that an ``nn.Module`` gives.

``reading`` checks and folds the file, ``linear_layers`` brings matrix products with constant
weights to one form, ``binding`` names parameters and calls, ``module`` runs the nodes with torch so
that ``torch.export`` can trace them, ``operators`` has one function per ONNX operator, ``batch``
and ``sizes`` keep the number of samples free.
"""

from deployq.graph.onnx_import.importer import Shapes, import_onnx

__all__ = ["Shapes", "import_onnx"]
