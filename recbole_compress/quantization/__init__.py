"""Integers of a few bits for the weights, tables and activations of any model.

- ``specs``: how a model is to be quantized, as values.
- ``swap``: :func:`quantize_`, in place, and what it refuses; ``targets`` says which parameters,
  ``report`` what became of them.
- ``fake_quantizer``: a parameter that reads as its nearest grid points while it is trained.
- ``activations``, ``rounded_inputs``, ``scoring_table``, ``scored_rows``: rounding of what enters a
  product.
- ``tables_in_products``: which tables round what they are multiplied with.
- ``bit_allocation``: how many bits for which tensor, where all may take so many bytes.
- ``grid_steps``: how far apart the grid points of every tensor lie.
- ``recurrent``: recurrent layers that can be quantized.
- ``packing``: from fake quantization to packed integers, and a model for those of a file;
  ``packed_weight`` reads them.
"""

from recbole_compress.quantization.activations import ActivationQuantizer, calibrating
from recbole_compress.quantization.fake_quantizer import FakeQuantizer
from recbole_compress.quantization.grid_steps import grid_steps
from recbole_compress.quantization.packed_weight import PackedWeight
from recbole_compress.quantization.packing import (
    IntegerParameter,
    freeze_,
    integer_parameters,
    manifest,
    packed_structure_,
)
from recbole_compress.quantization.report import QuantizationReport
from recbole_compress.quantization.specs import QuantizationSpec, TensorFormat
from recbole_compress.quantization.swap import check_quantizable, quantize_

__all__ = [
    "ActivationQuantizer",
    "FakeQuantizer",
    "IntegerParameter",
    "PackedWeight",
    "QuantizationReport",
    "QuantizationSpec",
    "TensorFormat",
    "calibrating",
    "check_quantizable",
    "freeze_",
    "grid_steps",
    "integer_parameters",
    "manifest",
    "packed_structure_",
    "quantize_",
]
