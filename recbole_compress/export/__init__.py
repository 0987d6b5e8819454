"""A trained model as one ONNX file.

- ``graph``: putting an ONNX graph together; ``storage``: how matrices lie in it;
  ``integers``, ``stored_codes``: those of a quantized model.
- ``source``: a model, taken apart; ``sources``: ours are, ``stock_sources``: RecBole's are.
- ``encoder``, ``operators``: from sequence to hidden state, traced by torch's exporter.
- ``lookup``, ``scoring``, ``columns``: item tables and heads, put together by hand.
- ``recommender_graph``: all of it; ``writing``: as a file, compared by ``verification`` first.
"""
