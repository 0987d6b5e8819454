"""What every run of this package gets from its trainer, whatever the model.

A mixin in front of RecBole's trainers, stock ones included: hooks only, the fit loop is RecBole's.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
import uuid

import torch
from recbole.utils import get_local_time

from recbole_compress.data.loaders import split_of, targets_per_example
from recbole_compress.distributed.gradients import SharedLoss, batch_norm_over_all, same_buffers
from recbole_compress.distributed.group import from_first, gathered, mean_of_all
from recbole_compress.distributed.place import here
from recbole_compress.distributed.quiet import without_tensorboard
from recbole_compress.distributed.shares import evaluation_share, training_share
from recbole_compress.errors import CheckpointError, TrainingError
from recbole_compress.trainers import random_state
from recbole_compress.trainers.checkpoint import (
    item_map_fingerprint,
    knows_other_items,
    load_checkpoint,
    other_parameter_data,
    plain_config,
    save_checkpoint,
)
from recbole_compress.trainers.collector import BoundedCollector
from recbole_compress.trainers.history import exclude_history_, refuse_exclusion
from recbole_compress.trainers.precision import autocast_dtype, matmul_precision

__all__ = ["SafeTrainer", "resume_file"]


def resume_file(checkpoint: str) -> str:
    """Where the latest state lies when it is not the best one: ``X.pth`` -> ``X.resume.pth``.

    Example:
        >>> resume_file("saved/X.pth"), resume_file("saved/X.resume.pth")
        ('saved/X.resume.pth', 'saved/X.resume.pth')
    """
    stem, ending = os.path.splitext(checkpoint)
    return checkpoint if stem.endswith(".resume") else f"{stem}.resume{ending}"


class _OutOfTime(Exception):
    """Ends RecBole's fit loop from within; never leaves :meth:`SafeTrainer.fit`."""


class SafeTrainer:
    """Safe checkpoints, true resumption, a time limit, bounded evaluation, clear failures.

    Two files: ``X.pth`` is the best epoch (what RecBole saves), ``X.resume.pth`` the latest one
    where that is another; it goes when training ends. Both hold everything that chance and the
    optimizer need, so a resumed training ends where an uninterrupted one would.
    """

    needs_teacher = False
    needs_source = False

    @classmethod
    def check_settings(cls, config):
        """Refuse what this trainer could not carry out, before anything is done."""
        refuse_exclusion(config, cls.needs_source)

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
        # RecBole's name is exact to the second only: two runs would overwrite each other.
        name = (
            f"{config['model']}-{config['dataset']}-{get_local_time()}-{uuid.uuid4().hex[:6]}.pth"
        )
        self.saved_model_file = from_first(lambda: os.path.join(self.checkpoint_dir, name))
        self.fingerprint: str | None = None
        self.catalogue: dict[str, int] | None = None
        self.generator: torch.Generator | None = None
        self.finished = False
        self.seconds = 0.0
        self.seconds_before = 0.0  # those of them that an interrupted training spent
        self.epochs_done = 0
        self._latest_result = None
        self._position = (0, 0)
        self._last_epoch_seconds = 0.0
        self._loaded_random_states = None
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
            self._discard(resume_file(self.saved_model_file))
        return best

    def _validate_latest(self, valid_data, saved, after_evaluation):
        """The first validation there is: the weights as they are become the best ones."""
        epoch = self.epochs_done - 1
        self.best_valid_score, self.best_valid_result = self._valid_epoch(valid_data)
        if saved:
            self._save_checkpoint(epoch)
        after_evaluation(epoch, self.best_valid_score)

    def _goes_on_from(self):
        """Checkpoint of an interrupted training, or None."""
        return self.config["resume"]

    def _note_data(self, train_data):
        """Record item fingerprint, catalogue sizes and the loader's generator."""
        dataset = split_of(train_data)
        self.fingerprint = item_map_fingerprint(dataset)
        self.catalogue = {"n_items": int(dataset.item_num), "n_users": int(dataset.user_num)}
        if self.needs_source:
            self.catalogue["n_source_items"] = int(dataset.source.item_num)
        self.generator = train_data.generator

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

    # -- checkpoints -------------------------------------------------------------------------

    def _state(self, epoch, best_valid_result):
        # Every process has its own chance, such as which numbers drop out; asked of all of them.
        chance, *of_others = gathered(random_state.capture(self.generator))
        return {
            "config": plain_config(self.config),
            "epoch": epoch,
            "cur_step": self.cur_step,
            "best_valid_score": float(self.best_valid_score),
            "state_dict": self.model.state_dict(),
            "other_parameter": other_parameter_data(self.model),
            "optimizer": self.optimizer.state_dict(),
            # beyond RecBole
            "best_valid_result": best_valid_result,
            "random_state": chance,
            "random_states_of_others": of_others,
            "item_map_sha256": self.fingerprint,
            "catalogue": self.catalogue,
            "seconds": self.seconds,
            **self._more_state(),
        }

    def _more_state(self):
        """What training needs besides the model, under keys that RecBole does not know."""
        return {}

    def _load_more_state(self, state, path):
        """Put back what :meth:`_more_state` gave."""

    def _save_checkpoint(self, epoch, verbose=True, **kwargs):
        path = kwargs.pop("saved_model_file", self.saved_model_file)
        # RecBole saves before it stores the result that made this epoch the best.
        self._write(self._state(epoch, self._latest_result or self.best_valid_result), path)
        if verbose:
            self.logger.info(f"Saved {path}")

    def _save_latest(self, epoch):
        if self.cur_step == 0:  # the best epoch is the latest one: ``X.pth`` says it all
            self._discard(resume_file(self.saved_model_file))
        else:
            self._write(
                self._state(epoch, self.best_valid_result), resume_file(self.saved_model_file)
            )

    def _write(self, state, path):
        if here().is_first:
            save_checkpoint(state, path)

    def _discard(self, path):
        if here().is_first and os.path.exists(path):
            os.unlink(path)

    def resume_checkpoint(self, resume_from):
        """Go on from ``X.pth`` or ``X.resume.pth``, whichever of the two is further.

        Raises:
            CheckpointError: Damaged, of another data set, or of a model of another shape.
        """
        best = str(resume_from).replace(".resume.pth", ".pth")
        latest = resume_file(best)
        state = self._checked(from_first(lambda: latest if os.path.exists(latest) else best))
        self.saved_model_file = best
        self._load_weights(state, best)
        self._load_more_state(state, best)
        try:
            self.optimizer.load_state_dict(state["optimizer"])
        except (KeyError, ValueError) as error:
            raise CheckpointError(f"{best}: optimizer state does not fit: {error}") from error
        self.start_epoch = self.epochs_done = state["epoch"] + 1
        self.cur_step = state["cur_step"]
        self.best_valid_score = state["best_valid_score"]
        self.best_valid_result = state.get("best_valid_result")
        self.seconds = self.seconds_before = state.get("seconds", 0.0)
        if state.get("random_state"):
            self._loaded_random_states = [
                state["random_state"],
                *state.get("random_states_of_others", []),
            ]
        self.finished = self.start_epoch >= self.epochs or self.cur_step > self.stopping_step
        self.logger.info(f"Resuming {best} at epoch {self.start_epoch}")

    def _restore_chance(self, states):
        rank, trained_by = here().rank, len(states)
        if trained_by == here().world_size or rank == 0:
            random_state.restore(states[rank], self.generator)
        elif self.generator is not None:  # the order of examples is the same in all processes
            self.generator.set_state(states[0]["loader"].cpu())
        if trained_by != here().world_size:
            self.logger.warning(
                f"trained by {trained_by} process(es) so far, going on with {here().world_size}: "
                "batches and steps stay the same, but dropout and sampled negatives are drawn "
                "differently"
            )

    def _checked(self, path):
        # The first process reads for all: the file may lie on its machine only.
        device = self.device if here().is_alone else "cpu"
        state = from_first(lambda: load_checkpoint(path, device))
        if knows_other_items(state.get("item_map_sha256"), self.fingerprint, unknown=False):
            raise CheckpointError(
                f"{path}: made for the items of data set {state['config']['dataset']!r}, not for "
                f"{self.config['dataset']!r} as loaded here; use the same data set and filters"
            )
        return state

    def _load_weights(self, state, path):
        try:
            self.model.load_state_dict(state["state_dict"])
        except RuntimeError as error:
            reason = " ".join(line.strip() for line in str(error).splitlines()[1:2])
            raise CheckpointError(
                f"{path}: its weights do not fit this model ({reason}); use the settings it was "
                "trained with"
            ) from error
        self.model.load_other_parameter(state.get("other_parameter"))

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
        with self._shared_out(eval_data) as batches:
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
