"""PRecQ's game: a generator looks for sequences on which the two models differ."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from recbole_compress.datafree import (
    Choices,
    Sequences,
    generator_objective,
    sample_sequences,
)
from recbole_compress.errors import CheckpointError
from recbole_compress.readers import SequenceReader, reader_like
from recbole_compress.trainers.datafree_trainer import DataFreeTrainer, without_dropout
from recbole_compress.trainers.discrepancy_terms import output_level

__all__ = ["AdversarialTrainer"]


class AdversarialTrainer(DataFreeTrainer):
    """Knowledge transfer and discrepancy estimation in turns, corrected where the release errs.

    The generator starts as an exact copy of the full-precision model and picks one item after the
    other. The quantized model makes the discrepancy small on what it has picked
    (``df_student_steps`` times); then the generator makes the output level of the discrepancy large
    (``df_generator_steps`` times), through straight-through Gumbel picks, each position on its own.
    In its turn gradients reach the generator only: the quantized model's are never touched.

    Reference:
        PRecQ: Shi et al., WWW 2023.
    """

    recipe = "adversarial"
    objective = "discrepancy"
    has_generator = True
    generator_model: SequenceReader

    @classmethod
    def asks_item_vectors(cls, settings):
        takes_turns = cls.asks_vectors_as_read(settings)
        return settings.game.freeze_items or takes_turns or super().asks_item_vectors(settings)

    @classmethod
    def asks_vectors_as_read(cls, settings):
        return settings.game.synthesis == "gumbel" and settings.game.warmup_epochs < settings.epochs

    def __init__(self, config, student, teacher, item_map_sha256=None):
        super().__init__(config, student, teacher, item_map_sha256)
        weights = copy.deepcopy(teacher).requires_grad_(True)
        for model in (weights, teacher):  # slopes are asked of both
            without_dropout(model)
        self.generator_model = reader_like(self.teacher, weights)
        if self.settings.game.freeze_items:
            self.generator_model.embedding.requires_grad_(False)
        self.generator_optimizer = torch.optim.Adam(
            [p for p in weights.parameters() if p.requires_grad],
            lr=self.settings.game.learning_rate,
            betas=self.settings.betas,
        )

    # -- sequences ---------------------------------------------------------------------------

    def sequences(self, n, generator):
        """Held-out ones: sampled from the full-precision model, the same all the time."""
        return self._sampled(n, generator)

    def _of_this_epoch(self) -> Sequences:
        """The first batch's places in line; each batch is picked anew when its turn comes."""
        n, longest = self.settings.n_sequences, self.teacher.max_length
        return Sequences(torch.ones(n, longest, dtype=torch.long), torch.full((n,), longest))

    def synthesised(self, n: int) -> Sequences:
        """What the generator makes now: any first item, then its own picks."""
        settings = self.settings
        return sample_sequences(
            self.generator_model, n, settings.picked_sampling, draw=settings.game.pick
        )

    # -- turns -------------------------------------------------------------------------------

    def loss(self, sequences: Sequences):
        if self._generators_turn():
            for _ in range(self.settings.game.generator_steps):
                self.generator_step(self.synthesised(len(sequences.lengths)))
        return super().loss(self.synthesised(len(sequences.lengths)))

    def _generators_turn(self) -> bool:
        game = self.settings.game
        epoch, step = self._position
        done = epoch * self._steps_per_epoch + step
        return (
            game.synthesis == "gumbel"
            and epoch >= game.warmup_epochs
            and done > 0
            and done % game.student_steps == 0
        )

    def generator_step(self, sequences: Sequences) -> None:
        """One step of the generator towards sequences on which the two models differ more."""
        self.generator_optimizer.zero_grad()
        self.discrepancy_estimation(sequences).backward()
        self.generator_optimizer.step()

    def discrepancy_estimation(self, sequences: Sequences) -> Tensor:
        """``L_DE = -L+ - a L- - b L_RD`` by its gradient in the generator; see the function used.

        The loss depends on a picked item three times: both models read its vector, and both score
        it. One backward pass gives the slope in all of these; none of it is a parameter's.
        """
        settings, game = self.settings, self.settings.game
        places = self.teacher.next_places(sequences)
        told, told_vectors = self.student.read_with_vectors(places)
        wanted, wanted_vectors = self.teacher.read_with_vectors(places)
        output = output_level(
            told, wanted, places, sequences, self.student.n_items, settings.discrepancy
        )
        asked = [told_vectors.leaf, wanted_vectors.leaf, output.student, output.teacher]
        slopes = torch.autograd.grad(-torch.stack(output.parts).sum(), asked, allow_unused=True)
        known = [
            torch.zeros_like(a) if s is None else s for a, s in zip(asked, slopes, strict=True)
        ]
        models = []
        for reader, reading, vectors, of_vectors, of_scores in (
            (self.student, told, told_vectors, known[0], known[2]),
            (self.teacher, wanted, wanted_vectors, known[1], known[3]),
        ):
            with torch.no_grad():
                of_items = vectors.per_item(of_vectors, sequences.item_seq)
                of_picks = of_items[places.row.to(of_items.device), places.seen.to(of_items.device)]
                models.append((reading, of_picks, reader.item_vectors(), of_scores))

        def slope(which: slice) -> Tensor:
            total = torch.zeros(())
            for reading, of_picks, table, of_scores in models:
                through_scores = of_scores[which] * reading.scores(reading.states[which])
                total = total + of_picks[which] @ table.T + through_scores
            return total

        picked = sequences.item_seq[places.row, places.seen].to(self.device)
        choices = Choices(picked, game.gumbel_items, game.gumbel_temperature)
        spoken = self.generator_model.read(places)
        return generator_objective(spoken, choices, slope, self.student.n_items)

    # -- checkpoints -------------------------------------------------------------------------

    def _more_state(self):
        return {
            **super()._more_state(),
            "generator": self.generator_model.model.state_dict(),
            "generator_optimizer": self.generator_optimizer.state_dict(),
        }

    def _load_more_state(self, state, path):
        super()._load_more_state(state, path)
        try:
            self.generator_model.model.load_state_dict(state["generator"])
            self.generator_optimizer.load_state_dict(state["generator_optimizer"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise CheckpointError(
                f"{path}: holds no generator that fits; it was not made by recipe=adversarial with "
                "this model"
            ) from error
