"""Any sequential recommender as a :class:`~recbole_compress.datafree.NextItemModel`.

What a model can do is found by trying it, never by its name; best first:

- ``every_position``: ours hand out the hidden state of every position;
- ``masked_positions``: a model with a mask token answers wherever the mask stands;
- ``gathered_positions``: a model that picks its last state by RecBole's ``gather_indexes`` may have
  states at every position as good as those of the prefixes: then one pass answers for all of them;
- ``prefixes``: any other reads some prefixes of every sequence;
- ``whole_sequences``: where scores are no function of one vector per sequence.

``ways`` lists them, ``trial`` is how they are tried; ``sequence_reader`` is what they share,
``one_pass`` what those do that read all positions at once. ``replaced_methods`` looks into a
model's methods; ``trained_tensors`` and ``read_vectors`` say what gradients can be taken in.
"""

from recbole_compress.readers.read_vectors import ReadVectors
from recbole_compress.readers.sequence_reader import SequenceReader
from recbole_compress.readers.ways import WAYS, as_reader, reader_like

__all__ = ["WAYS", "ReadVectors", "SequenceReader", "as_reader", "reader_like"]
