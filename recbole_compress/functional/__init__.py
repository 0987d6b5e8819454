"""Plain functions on tensors: no parameters, no settings, no RecBole.

Losses over a catalogue:

- ``cross_entropy``: without keeping the logits; ``cross_entropy_checks``: what it refuses.
- ``soft_targets``: learning another model's distribution over all items.
- ``two_level``: CpRec's two-level softmax; ``two_level_soft_targets``, ``two_level_topk``: the
  same questions asked of it; ``cluster_tokens``: one row in the place of a tail.
- ``left_out``: columns that a row of logits has no part in.
- ``sum_in_chunks``, ``saved_gradients``: losses whose intermediate results would not fit.
- ``topk``: exact top-k of long rows.
- ``probabilities``: models that say probabilities where others say logits.
- ``full_precision``: out of the short floats of autocast.

Tables:

- ``item_blocks``: cutting a catalogue by popularity; ``blockwise``: a width per block.
- ``low_rank``: from a dense matrix to two narrow ones.
- ``tensor_train``: rows, scores and the table of cores; ``tensor_train_shapes``: which there are,
  ``semi_tensor_train``: those of another form; ``tensor_train_costs``: the cheapest way to read
  them; ``tensor_train_svd``: from a dense table.
- ``scattered_rows``: which row an item has where neighbouring rows share numbers.
- ``product_codes``: a few bytes per item that choose among shared sub-vectors.

Integers:

- ``integer_grid``: the grids, defined once; ``quantization_ranges``: how far one reaches.
- ``quantization``: tensors as integers of 1 to 8 bits, and back; ``bit_packing``: in few bytes.

Sequences:

- ``sequence_mask``: where right-padded ones have their items.
- ``pointed_states``: states that carry the items of their own sequence.
"""
