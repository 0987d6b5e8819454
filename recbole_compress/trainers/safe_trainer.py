"""What every run of this package gets from its trainer, whatever the model.

A mixin in front of RecBole's trainers, stock ones included: hooks only, the fit loop is RecBole's.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time

import torch

from recbole_compress.data.loaders import split_of, targets_per_example
from recbole_compress.distributed.gradients import SharedLoss, batch_norm_over_all, same_buffers
from recbole_compress.distributed.group import from_first, mean_of_all
from recbole_compress.distributed.place import here
from recbole_compress.distributed.quiet import without_tensorboard
from recbole_compress.distributed.shares import evaluation_share, training_share
from recbole_compress.errors import TrainingError
from recbole_compress.trainers import random_state
from recbole_compress.trainers.checkpoint import item_map_fingerprint
from recbole_compress.trainers.collector import BoundedCollector
from recbole_compress.trainers.history import exclude_history_, refuse_exclusion
from recbole_compress.trainers.masked_sequences import refuse_masking_nothing
from recbole_compress.trainers.precision import autocast_dtype, matmul_precision
from recbole_compress.trainers.resumable_training import ResumableTraining

__all__ = ["SafeTrainer"]


class _OutOfTime(Exception):
    """Ends RecBole's fit loop from within; never leaves :meth:`SafeTrainer.fit`."""


class SafeTrainer(ResumableTraining):
    """Safe checkpoints, true resumption, a time limit, bounded evaluation, clear failures."""

    needs_teacher = False
    needs_source = False

    @classmethod
    def check_settings(cls, config):
        """Refuse what this trainer could not carry out, before anything is done."""
        refuse_exclusion(config, cls.needs_source)
        refuse_masking_nothing(config)

    @classmethod
    def choices(cls, config):
        """What the card is to say of this run beside the model's own choices."""
        return {}

    @classmethod
    def build_model(cls, config, train_split):
        """The model that this trainer trains, of random weights."""
        return config.model_class(config, train_split)

    def __init__(self, config, model):
        if not here().is_alone and config["device"].type == "cuda":
            model = batch_norm_over_all(model)
        with without_tensorboard():
            super().__init__(config, model)
        self.eval_collector = BoundedCollector(config)
        self.item_seq_field = config["ITEM_ID_FIELD"] + config["LIST_SUFFIX"]
        self._position = (0, 0)
        self._last_epoch_seconds = 0.0
        self._shared_loss: SharedLoss | None = None

    # -- training ----------------------------------------------------------------------------

    def fit(
        self,
        train_data,
        valid_data=None,
        verbose=True,
        saved=True,
        show_progress=False,
        callback_fn=None,
    ):
        self._note_data(train_data)
        if self._goes_on_from():
            self.resume_checkpoint(self._goes_on_from())
        if self.finished:
            self.logger.info(f"{self.saved_model_file}: training had ended; nothing left to do")
            self.eval_collector.data_collect(train_data)  # as RecBole's fit does at its beginning
            return self.best_valid_score, self.best_valid_result

        def after_evaluation(epoch, score):
            if saved:
                self._save_latest(epoch)
            if callback_fn:
                callback_fn(epoch, score)

        if self._loaded_random_states is not None:
            self._restore_chance(self._loaded_random_states)
        if not here().is_alone:
            train_data = training_share(
                train_data, targets_per_example(train_data), here().rank, here().world_size
            )
            shares = train_data.batch_sampler or train_data.sampler
            modules = self._trained_modules()
            # Torch shares no gradients where there are none, as in Pop.
            if any(parameter.requires_grad for parameter in modules.parameters()):
                self._shared_loss = SharedLoss(modules, shares.scales)
        try:
            best = super().fit(
                train_data,
                valid_data,
                verbose,
                saved,
                # A bar is for eyes: logs and pipes would only collect its carriage returns.
                show_progress=bool(show_progress) and sys.stderr.isatty(),
                callback_fn=after_evaluation,
            )
        except _OutOfTime:
            self.time_was_up = True
            validated = math.isfinite(self.best_valid_score)
            self.logger.info(
                f"train_time_limit={self.config['train_time_limit']} s reached after "
                f"{self.epochs_done} epochs; going on with the "
                f"{'best' if validated and saved else 'latest'} one"
            )
            # With eval_step above 1, nothing may have been saved by now.
            if not validated and valid_data and self.eval_step > 0:
                self._validate_latest(valid_data, saved, after_evaluation)
            best = self.best_valid_score, self.best_valid_result
        self.finished = True
        if saved:
            self._note_end()
            self._discard_latest()
        return best

    def _validate_latest(self, valid_data, saved, after_evaluation):
        """The first validation there is: the weights as they are become the best ones."""
        epoch = self.epochs_done - 1
        self.best_valid_score, self.best_valid_result = self._valid_epoch(valid_data)
        if saved:
            self._save_checkpoint(epoch)
        after_evaluation(epoch, self.best_valid_score)

    def _trained_modules(self):
        """The module that holds every weight the loss depends on."""
        return self.model

    def _train_epoch(self, train_data, epoch_idx, loss_func=None, show_progress=False):
        limit = self.config["train_time_limit"]
        expected = self.seconds + self._last_epoch_seconds
        if limit and self.epochs_done and from_first(lambda: expected > limit):
            raise _OutOfTime
        start = time.perf_counter()
        self._position = (epoch_idx, 0)
        if self._shared_loss is not None:
            loss_func = self._shared_loss.of(loss_func or self.model.calculate_loss)
        try:
            with (
                matmul_precision(self.config["train_matmul_precision"]),
                autocast_dtype(self.device, self.config["amp_dtype"]),
            ):
                loss = super()._train_epoch(train_data, epoch_idx, loss_func, show_progress)
            return mean_of_all(loss)
        finally:
            self._last_epoch_seconds = time.perf_counter() - start
            self.seconds += self._last_epoch_seconds
            self.epochs_done = epoch_idx + 1

    def _valid_epoch(self, valid_data, show_progress=False):
        score, self._latest_result = super()._valid_epoch(valid_data, show_progress)
        return score, self._latest_result

    def _check_nan(self, loss):
        epoch, batch = self._position
        self._position = (epoch, batch + 1)
        if not torch.isfinite(loss):
            saved = self.saved_model_file
            kept = f"; {saved} holds the best epoch" if os.path.exists(saved) else ""
            raise TrainingError(
                f"epoch {epoch}, batch {batch}: the training loss is {loss.item()}; try a smaller "
                f"learning_rate (now {self.learning_rate}) or clip_grad_norm{kept}"
            )

    # -- evaluation --------------------------------------------------------------------------

    def evaluate(self, eval_data, load_best_model=True, model_file=None, show_progress=False):
        if not eval_data:
            return None
        if load_best_model:
            path = model_file or self.saved_model_file
            if self.fingerprint is None:
                self.fingerprint = item_map_fingerprint(split_of(eval_data))
            self._load_weights(self._checked(path), path)
            self.logger.info(f"Loaded {path}")
        # Sampled negatives are the same in every epoch, after a resumption, and in ``evaluate``.
        seed = self.config["seed"]
        with random_state.seeded(seed), self._shared_out(eval_data) as batches:
            return super().evaluate(
                batches,
                load_best_model=False,
                show_progress=bool(show_progress) and sys.stderr.isatty(),
            )

    def _full_sort_batch_eval(self, batched_data):
        interaction, scores, positive_u, positive_i = super()._full_sort_batch_eval(batched_data)
        if self.config["exclude_history"]:
            exclude_history_(scores, interaction[self.item_seq_field].to(scores.device))
        return interaction, scores, positive_u, positive_i

    def further_results(self, valid_data, test_data, load_best_model):
        """Results beside the usual ones, by name; for the card."""
        return {}

    @contextlib.contextmanager
    def _shared_out(self, eval_data):
        """This process's batches; the collector brings the rows of all processes together."""
        if here().is_alone:
            yield eval_data
            return
        same_buffers(self.model)
        # Sampled negatives are to be the first process's, in all of them.
        own = random_state.capture()
        random_state.restore(from_first(random_state.capture))
        try:
            yield evaluation_share(eval_data, here().rank, here().world_size)
        finally:
            if not here().is_first:
                random_state.restore(own)
