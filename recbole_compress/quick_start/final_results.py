"""What is measured on the test split, once a model is finished."""

from __future__ import annotations

from typing import Any

from recbole_compress.data.loaders import split_of
from recbole_compress.distributed.group import from_first
from recbole_compress.models.compressed_recommender import has_one_catalogue
from recbole_compress.trainers.ranks import RankRecorder, write_ranks

__all__ = ["final_results"]


def final_results(
    trainer: Any,
    train_data: Any,
    valid_data: Any,
    test_data: Any,
    load_best_model: bool,
    show_progress: bool = False,
) -> tuple[dict[str, float] | None, dict[str, dict[str, float]]]:
    """Metrics on the test split, and what else the trainer measures; writes ranks if asked for.

    Args:
        trainer: Its config says by ``ranks_path`` whether the rank of every row is written.
        train_data: Loader of the train split, for how often items occur there.
        valid_data: None if there is none.
        test_data: Loader of the test split; one without rows gives no metrics (None) and no ranks.
        load_best_model: From the trainer's checkpoint; False for the weights as they are.
        show_progress: Draw a bar.
    """
    path, split = trainer.config["ranks_path"], split_of(train_data)
    if path and not test_data:  # such as after the split LS: valid_only
        trainer.logger.warning(f"ranks_path={path}: the test split has no rows; no file is written")
        path = None
    # After a transfer, sequences hold other items than those that are recommended.
    sequences = trainer.item_seq_field if has_one_catalogue(trainer.model) else None
    recorder = RankRecorder(split.uid_field, sequences) if path else None
    trainer.eval_collector.recorder = recorder
    result = trainer.evaluate(
        test_data, load_best_model=load_best_model, show_progress=show_progress
    )
    if recorder is not None:
        records = recorder.records(split, split_of(test_data))
        from_first(lambda: write_ranks(records, path))
        trainer.eval_collector.recorder = None
    return result, trainer.further_results(valid_data, test_data, load_best_model=load_best_model)
