"""What a model weighs, costs and reaches, measured and written down.

- ``size``: parameters and bytes, by item input, item output and backbone.
- ``macs``: multiply-adds per request, counted at the operators.
- ``latency``: milliseconds from an item sequence to its top-k items.
- ``requests``: requests that any sequential model can answer, the ruler's other end.
- ``environment``: versions, processor, memory, commit.
- ``card``: the compression card, one JSON file per run.
- ``table``: cards for human eyes; ``readable``: their numbers.
- ``thop_counters``: makes RecBole's own operation count see our modules.
"""
