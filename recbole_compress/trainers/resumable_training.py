"""What a training writes so that it can go on, and going on from that.

A mixin in front of RecBole's trainers, which know when to save.
"""

from __future__ import annotations

import os
import uuid

import torch
from recbole.utils import get_local_time

from recbole_compress.data.loaders import split_of
from recbole_compress.data.split_rows import rows_fingerprint
from recbole_compress.distributed.group import from_first, gathered
from recbole_compress.distributed.place import here
from recbole_compress.errors import CheckpointError
from recbole_compress.trainers import random_state
from recbole_compress.trainers.checkpoint import (
    item_map_fingerprint,
    knows_other_items,
    load_checkpoint,
    other_parameter_data,
    plain_config,
    save_checkpoint,
)

__all__ = ["ResumableTraining", "resume_file"]


def resume_file(checkpoint: str) -> str:
    """Where the latest state lies when it is not the best one: ``X.pth`` -> ``X.resume.pth``.

    Example:
        >>> resume_file("saved/X.pth"), resume_file("saved/X.resume.pth")
        ('saved/X.resume.pth', 'saved/X.resume.pth')
    """
    stem, ending = os.path.splitext(checkpoint)
    return checkpoint if stem.endswith(".resume") else f"{stem}.resume{ending}"


class ResumableTraining:
    """Checkpoints that hold all that a training needs to go on.

    Two files: ``X.pth`` is the best epoch (what RecBole saves), ``X.resume.pth`` the latest one
    where that is another; it goes when training ends, and ``X.pth`` notes the end. Both hold
    everything that chance and the optimizer need, so a resumed training ends where an uninterrupted
    one would.
    """

    def __init__(self, config, model):
        super().__init__(config, model)
        # RecBole's name is exact to the second only: two runs would overwrite each other.
        name = (
            f"{config['model']}-{config['dataset']}-{get_local_time()}-{uuid.uuid4().hex[:6]}.pth"
        )
        self.saved_model_file = from_first(lambda: os.path.join(self.checkpoint_dir, name))
        self.fingerprint: str | None = None
        self.train_rows: str | None = None
        self.catalogue: dict[str, int] | None = None
        self.generator: torch.Generator | None = None
        self.finished = False
        self.seconds = 0.0
        self.seconds_before = 0.0  # those of them that an interrupted training spent
        self.epochs_done = 0
        self.time_was_up = False
        self._latest_result = None
        self._loaded_random_states = None

    def _goes_on_from(self):
        """Checkpoint of an interrupted training, or None."""
        return self.config["resume"]

    def _note_data(self, train_data):
        """Record fingerprints of items and rows, catalogue sizes and the loader's generator."""
        dataset = split_of(train_data)
        self.fingerprint = item_map_fingerprint(dataset)
        self.train_rows = rows_fingerprint(dataset)
        self.catalogue = self._catalogue_of(dataset)
        self.generator = train_data.generator

    def _catalogue_of(self, dataset):
        """Sizes that a model is made again with, when its data set is not there."""
        return {"n_items": int(dataset.item_num), "n_users": int(dataset.user_num)}

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
            "train_rows_sha256": self.train_rows,
            "catalogue": self.catalogue,
            "seconds": self.seconds,
            "last_epoch_seconds": self._last_epoch_seconds,
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
            self._discard_latest()
        else:
            self._write(
                self._state(epoch, self.best_valid_result), resume_file(self.saved_model_file)
            )

    def _note_end(self):
        """Into ``X.pth``, whose epoch is an earlier one where training stopped early."""
        path = self.saved_model_file
        if here().is_first and os.path.exists(path):
            limit = self.config["train_time_limit"] if self.time_was_up else None
            end = {
                "epochs": self.epochs_done,
                "cur_step": self.cur_step,
                "seconds": self.seconds,
                "time_limit": limit,
            }
            self._write({**load_checkpoint(path), "end": end}, path)

    def _write(self, state, path):
        if here().is_first:
            save_checkpoint(state, path)

    def _discard_latest(self):
        path = resume_file(self.saved_model_file)
        if here().is_first and os.path.exists(path):
            os.unlink(path)

    def resume_checkpoint(self, resume_from):
        """Go on from ``X.resume.pth``, left by the last epoch, or without it from ``X.pth``.

        Raises:
            CheckpointError: Damaged, of another data set or of other rows of it, of a model of
                another shape or of another optimizer; or ``X.resume.pth`` without its ``X.pth``.
        """
        best = str(resume_from).replace(".resume.pth", ".pth")
        latest = resume_file(best)
        if from_first(lambda: os.path.exists(latest) and not os.path.exists(best)):
            raise CheckpointError(f"{latest}: {best}, its best epoch, has to lie beside it")
        state = self._checked(from_first(lambda: latest if os.path.exists(latest) else best))
        rows = state.get("train_rows_sha256")
        if self.train_rows and rows not in (None, self.train_rows):
            raise CheckpointError(
                f"{best}: trained on other rows than those of the train split here; go on with the "
                "eval_args and the filters of before"
            )
        self.saved_model_file = best
        self._load_weights(state, best)
        self._load_more_state(state, best)
        self._load_optimizer(state, best)
        self.start_epoch = self.epochs_done = state["epoch"] + 1
        self.cur_step = state["cur_step"]
        self.best_valid_score = state["best_valid_score"]
        self.best_valid_result = state.get("best_valid_result")
        self.seconds = self.seconds_before = state.get("seconds", 0.0)
        self._last_epoch_seconds = state.get("last_epoch_seconds", 0.0)
        if state.get("random_state"):
            self._loaded_random_states = [
                state["random_state"],
                *state.get("random_states_of_others", []),
            ]
        self.finished = self._is_over(self.start_epoch, self.cur_step)
        self._heed_end(state.get("end"))
        self.logger.info(f"Resuming {best} at epoch {self.start_epoch}")

    def _load_optimizer(self, state, path):
        """What it has gathered; how it steps is what the settings of now say."""
        before, now = state["config"]["learner"], self.config["learner"]
        if before != now:
            raise CheckpointError(
                f"{path}: trained with learner={before!r}, and what that gathered is of no use to "
                f"{now!r}; leave learner as it was"
            )
        steps = [
            {key: value for key, value in group.items() if key != "params"}
            for group in self.optimizer.param_groups
        ]
        try:
            self.optimizer.load_state_dict(state["optimizer"])
        except (KeyError, ValueError) as error:
            raise CheckpointError(f"{path}: optimizer state does not fit: {error}") from error
        for group, of_now in zip(self.optimizer.param_groups, steps, strict=True):
            group.update(of_now)

    def _is_over(self, epochs, cur_step):
        return epochs >= self.epochs or cur_step > self.stopping_step

    def _heed_end(self, end):
        """Finish where training ended, unless it may last longer now than it did."""
        if end is None:
            return
        limit = self.config["train_time_limit"]
        in_time = not end["time_limit"] or not limit or limit > end["time_limit"]
        if self._is_over(end["epochs"], end["cur_step"]) or not in_time:
            self.finished = True
            self.epochs_done = end["epochs"]
            self.seconds = self.seconds_before = end["seconds"]

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
