"""Recommendations from an exported file; numpy and onnxruntime are all it needs.

- ``recommender``: :class:`Recommender`, from item tokens to item tokens.
- ``session``: the file as a function on arrays; ``request_arrays``: which of those it takes.
- ``metadata``: what a file says of itself; ``checksum``: whether it is as it was written.
"""

from recbole_compress.artifact.recommender import Recommendation, Recommender

__all__ = ["Recommendation", "Recommender"]
