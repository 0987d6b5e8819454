"""One run in several processes: batches are shared out, gradients and results brought together.

- ``place``: which of the run's processes this one is.
- ``settings``: how many processes, on which devices, with how many threads.
- ``launcher``: starting the processes of one machine and ending them together.
- ``group``: what the processes of a run tell each other.
- ``shares``: each process's part of a batch in training, of the batches in evaluation.
- ``gradients``: the loss whose gradients are those of the whole batch.
- ``quiet``: only the first process writes logs.

RecBole's own way (``single_spec: False``) is left switched off: it pads the examples with
duplicates, weighs results by batches, and marks checkpoints so that one process cannot load them.
"""
