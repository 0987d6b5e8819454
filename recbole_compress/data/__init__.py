"""What RecBole's data sets do not give.

- ``atomic_files``: reading plain or gzip-compressed atomic files, in seconds.
- ``sequence_dataset``: every sequence stored once, histories as indices.
- ``prefix_rows``: split files of prefix rows, turned back into sequences.
- ``merged_times``: times that become one as RecBole stores them.
- ``windows``: training windows in which every target of the train split occurs exactly once.
- ``loaders``: batches of similar length, and the split behind any batches.
- ``transfer_dataset``: targets of one data set after the sequences of another; ``histories`` says
  how much of a sequence was known, ``candidates`` which items a target is ranked against.
- ``evaluation``: what evaluation asks of the rows, and how large its batches may be.
- ``domains``: making such a pair of data sets from any interactions.
- ``item_counts``: item frequencies of the train split; ``item_vectors``: which are alike there.
- ``train_sequences``, ``shown_sequences``: sequences of any data set class, as tensors and as what
  rows show; ``split_rows``: which rows a split holds, as one hash.
- ``catalogue``: what a model's constructor asks of its data set, without any data.
"""

from recbole_compress.data.atomic_files import AtomicFiles
from recbole_compress.data.item_counts import train_item_counts
from recbole_compress.data.loaders import training_loader
from recbole_compress.data.sequence_dataset import SequenceDataset

__all__ = ["AtomicFiles", "SequenceDataset", "train_item_counts", "training_loader"]
