"""Training a quantized model to answer as its full-precision original, without a data set."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from recbole.trainer import Trainer
from torch import Tensor, nn
from torch.nn.utils import parametrize

from recbole_compress.datafree import (
    Reading,
    Sequences,
    item_divergence,
    sample_sequences,
    stationary_prior,
)
from recbole_compress.errors import CheckpointError
from recbole_compress.quantization import grid_steps
from recbole_compress.readers import SequenceReader, as_reader, reader_like
from recbole_compress.trainers.best_weights import BestWeights
from recbole_compress.trainers.checkpoint import weights_fingerprint
from recbole_compress.trainers.datafree_settings import DataFreeSettings
from recbole_compress.trainers.discrepancy_terms import output_level, similarity_level
from recbole_compress.trainers.generated_batches import GeneratedBatches, as_sequences
from recbole_compress.trainers.safe_trainer import SafeTrainer

__all__ = ["DataFreeTrainer", "without_dropout"]

_AGREEMENT = 10


class DataFreeTrainer(SafeTrainer, Trainer):
    """RecBole's ``Trainer`` on made-up sequences; early stopping on held-out ones.

    Subclasses say where sequences come from. Everything chance decides is decided by the config's
    seed, the epoch and the generators that the checkpoint holds, so a resumed training ends where
    an uninterrupted one would.

    Args:
        config: Its ``df_`` keys, see :class:`DataFreeSettings`.
        student: The quantized model.
        teacher: The full-precision one; is frozen.
        item_map_sha256: Which items both know, from the checkpoint.

    Attributes:
        recipe: The value of the key ``quantization_recipe`` that a class carries out.
        objective: What it learns unless ``df_objective`` says otherwise.
        reads_data: Whether it is to be given real sequences.
        has_generator: Whether something learns to make the sequences.
        generator_model: That; None where nothing does.
    """

    recipe = ""
    objective = "divergence"
    reads_data = False
    has_generator = False
    generator_model: SequenceReader | None = None

    @classmethod
    def check_settings(cls, config):
        super().check_settings(config)
        DataFreeSettings.of(config)

    @classmethod
    def asks_item_vectors(cls, settings: DataFreeSettings) -> bool:
        """Whether it compares item vectors, which not every model has in one place."""
        compares = (settings.objective or cls.objective) == "discrepancy"
        return compares and settings.discrepancy.similarity > 0

    @classmethod
    def asks_what_follows(cls, settings: DataFreeSettings) -> bool:
        """Whether it looks at the items that follow others within the sequences."""
        compares = (settings.objective or cls.objective) == "discrepancy"
        return compares or cls.asks_vectors_as_read(settings)

    @classmethod
    def asks_vectors_as_read(cls, settings: DataFreeSettings) -> bool:
        """Whether it takes gradients in the item vectors that the models read."""
        return False

    def __init__(self, config, student, teacher, item_map_sha256=None):
        self.settings = DataFreeSettings.of(config)
        super().__init__(config, student)
        self.item_map_sha256 = item_map_sha256
        settings = self.settings
        self.learning_rate, self.epochs = settings.learning_rate, settings.epochs
        self.stopping_step, self.eval_step = settings.stopping_step, 1
        self.valid_metric_bigger, self.best_valid_score = True, -math.inf
        self.clip_grad_norm = None
        self.optimizer = torch.optim.Adam(self._rates(student), betas=settings.betas)
        # Readers are no modules: nothing of the teacher is saved, counted or trained.
        self.teacher: SequenceReader = as_reader(teacher.to(self.device).eval())
        teacher.requires_grad_(False)
        self._of_teacher = weights_fingerprint(teacher)
        self.student = reader_like(self.teacher, student)
        self._pool: tuple[int, Sequences] | None = None
        self._prior: Tensor | None = None
        self._held_out: tuple[Sequences, Reading, Tensor] | None = None

    def _rates(self, student: nn.Module) -> list[dict[str, Any]]:
        """What is on a grid moves in shares of the grid's step, all else at the learning rate."""
        settings = self.settings
        groups, placed = [], set()
        if settings.grid_rate:
            for tensors, bits, step in grid_steps(student):
                # The finer the grid, the less is wrong at the start, and the less is to be moved.
                share = settings.grid_rate * 2.0 ** (1 - bits / 2)
                groups.append({"params": tensors, "initial_lr": share * step})
                placed |= {id(tensor) for tensor in tensors}
        others = [p for p in student.parameters() if p.requires_grad and id(p) not in placed]
        groups.append({"params": others, "initial_lr": settings.learning_rate})
        return groups

    # -- sequences ---------------------------------------------------------------------------

    def sequences(self, n: int, generator: torch.Generator) -> Sequences:
        """``n`` sequences to train or validate on."""
        raise NotImplementedError

    def _held_out_sequences(self) -> Sequences:
        """What the student is judged on, the same after every epoch."""
        return self.sequences(self.settings.n_valid, self._chance(0))

    def _of_this_epoch(self) -> Sequences:
        """Made again from the seed after an interruption, so no checkpoint has to hold them."""
        which = self._position[0] // self.settings.pool_epochs
        if self._pool is None or self._pool[0] != which:
            self._pool = which, self.sequences(self.settings.n_sequences, self._chance(1 + which))
        return self._pool[1]

    def _chance(self, stream: int) -> torch.Generator:
        return torch.Generator().manual_seed(self.config["seed"] * 100_003 + stream)

    def _sampled(self, n: int, generator: torch.Generator) -> Sequences:
        sampling = self.settings.sampling
        if self._prior is None and sampling.start != "uniform":
            self._prior = stationary_prior(self.teacher, sampling, self._chance(-1))
        return sample_sequences(self.teacher, n, sampling, generator, prior=self._prior)

    # -- training ----------------------------------------------------------------------------

    def fit(  # type: ignore[override]  # what it trains on is made here, not given
        self, verbose=True, saved=True, show_progress=False, callback_fn=None
    ):
        """Train; the best weights are in the student afterwards.

        Returns:
            Best score on held-out sequences, and all that was measured there.
        """
        batches = GeneratedBatches(
            self._of_this_epoch, self._epoch_size(), self.settings.batch_size
        )
        collector: Any = self.eval_collector
        self.eval_collector = cast(Any, _NothingToCollect())
        best = BestWeights(self.model)

        def after_evaluation(epoch, score):
            best.offer(score)
            if callback_fn:
                callback_fn(epoch, score)

        if not self._goes_on_from():
            self._enter_the_start(best, saved)
        try:
            result = super().fit(
                batches, batches, verbose, saved, show_progress, callback_fn=after_evaluation
            )
        finally:
            self.eval_collector = collector
        if saved:
            self._load_weights(self._checked(self.saved_model_file), self.saved_model_file)
        else:
            best.restore()
        self.model.eval()
        return result

    def _enter_the_start(self, best: BestWeights, saved: bool) -> None:
        """Many bits need no training: a pass has to beat the weights that it starts from."""
        self._note_data(None)
        self.best_valid_score, self.best_valid_result = self._valid_epoch(None)
        found = self.best_valid_result
        measured = ", ".join(f"{name} {value:.4g}" for name, value in found.items())
        self.logger.info(
            f"Before any training: {measured}. At most {self.epochs} passes over "
            f"{self._epoch_size():,} sequences"
        )
        best.offer(self.best_valid_score)
        if saved:
            self._save_checkpoint(-1, verbose=False)

    def _epoch_size(self) -> int:
        return self.settings.n_sequences

    def _goes_on_from(self):
        return self.config["df_resume"]

    def _note_data(self, train_data):
        self.fingerprint = self.item_map_sha256
        self.generator = None

    def _train_epoch(self, train_data, epoch_idx, loss_func=None, show_progress=False):
        self._steps_per_epoch = len(train_data)
        return super()._train_epoch(train_data, epoch_idx, self._step, show_progress)

    def _step(self, batch) -> Any:
        without_dropout(self.model)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * self._rate()
        # Every tensor is put on its grid once per step.
        with parametrize.cached():
            return self.loss(as_sequences(batch))

    def _rate(self) -> float:
        epoch, step = self._position
        if self.settings.schedule == "multistep":
            return 0.1 ** sum(epoch >= milestone for milestone in self.settings.milestones)
        if self.settings.schedule == "constant":
            return 1.0
        done = (epoch + step / self._steps_per_epoch) / self.epochs
        return 0.5 * (1 + math.cos(math.pi * done))

    def loss(self, sequences: Sequences) -> Any:
        """What the student is to make small on these sequences; parts are logged on their own."""
        if (self.settings.objective or self.objective) == "divergence":
            return self._divergence(self.student, sequences)
        return self._discrepancy(sequences)

    def _divergence(self, student: SequenceReader, sequences: Sequences) -> Tensor:
        settings = self.settings
        places = self.teacher.places(sequences)
        with torch.no_grad():
            wanted = self.teacher.read(places)
        large = student.n_items > settings.candidates_above
        candidates = settings.candidates if large else None
        return item_divergence(
            student.read(places), wanted, student.n_items, settings.kl_temperature, candidates
        )

    def _discrepancy(self, sequences: Sequences) -> tuple[Tensor, ...]:
        weights = self.settings.discrepancy
        places = self.teacher.next_places(sequences)
        with torch.no_grad():
            wanted = self.teacher.read(places)
        told = self.student.read(places)
        parts = output_level(told, wanted, places, sequences, self.student.n_items, weights).parts
        if weights.similarity:
            parts.append(similarity_level(self.student, self.teacher, weights))
        return tuple(parts)

    # -- checkpoints -------------------------------------------------------------------------

    def _more_state(self):
        return {"full_precision_sha256": self._of_teacher}

    def _load_more_state(self, state, path):
        # Files from before it was noted say nothing.
        if state.get("full_precision_sha256", self._of_teacher) != self._of_teacher:
            raise CheckpointError(
                f"{path}: was begun with another full-precision model; give the checkpoint that "
                "it was begun with"
            )

    # -- validation --------------------------------------------------------------------------

    @torch.no_grad()
    def _valid_epoch(self, valid_data, show_progress=False):
        if self._held_out is None:
            sequences = self._held_out_sequences()
            reading = self.teacher.ends(sequences)
            best = reading.best_items(_AGREEMENT, self.teacher.n_items)
            self._held_out = sequences, reading, best
        sequences, wanted, best = self._held_out
        self.model.eval()
        told = self.student.ends(sequences)
        k = best.shape[1]
        found = told.best_items(_AGREEMENT, self.student.n_items)
        agreement = (found.unsqueeze(2) == best.unsqueeze(1)).sum() / best.numel()
        divergence = item_divergence(told, wanted, self.student.n_items)
        self._latest_result = {
            f"agreement@{k}": agreement.item(),
            "divergence": divergence.item(),
        }
        return agreement.item(), self._latest_result


class _NothingToCollect:
    """In place of RecBole's collector, which counts items of the train split."""

    def data_collect(self, train_data):
        pass


def without_dropout(model: nn.Module) -> None:
    """Switch dropout off, module or functional, so that models are compared deterministically."""
    model.eval()
    for module in model.modules():
        if isinstance(module, nn.RNNBase) and next(module.parameters()).is_cuda:
            module.dropout = 0.0
            module.train()  # cuDNN has no gradients of evaluation
