"""An exported file, as something that RecBole's trainers evaluate."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_compress.artifact.measure import measured
from recbole_compress.artifact.session import Session
from recbole_compress.config import Config
from recbole_compress.errors import ArtifactError, ConfigError
from recbole_compress.quick_start.portable_settings import portable

__all__ = ["answering_model", "artifact_card", "config_of"]

# These need no more than the best items.
_OF_THE_TOP = {
    *("recall", "mrr", "ndcg", "hit", "precision", "map"),
    *("itemcoverage", "averagepopularity", "giniindex", "shannonentropy", "tailpercentage"),
}
# Some heads score the whole catalogue for a single candidate.
_SCORES_AT_ONCE = 1 << 24


def config_of(session: Session, settings: dict[str, Any]) -> Config:
    """The settings that a file's model was made with, and what differs from them now.

    Raises:
        ArtifactError: The file does not say how its model was made.
        ConfigError: Settings that cannot be used; metrics that the file has too few scores for.
    """
    said = session.said("configuration")
    if not isinstance(said, dict):
        raise ArtifactError(f"{session.path}: its configuration is no table; export it again")
    given = portable(said)
    config = Config(config_dict={**given, "use_gpu": False, **settings})
    metrics = {str(name).lower() for name in config["metrics"]}
    if not session.has_all_scores and (config["ranks_path"] or metrics - _OF_THE_TOP):
        wanted = ", ".join(sorted(metrics - _OF_THE_TOP)) or "ranks_path"
        raise ConfigError(
            f"{session.path}: {wanted} need scores of all items; export with --all-scores"
        )
    return config


def answering_model(session: Session, config: Config, train_split: Any) -> Any:
    """A model of the file's settings whose answers are the file's.

    It is a real one, so that RecBole finds all it asks for, and so that its operations can be
    counted; no answer comes from its own weights, which are random.
    """
    model = config.model_class(config, train_split)
    history = config["MAX_ITEM_LIST_LENGTH"] if config["exclude_history"] else 0
    at_once = max(1, _SCORES_AT_ONCE // session.n_items)
    enough = min(max(config["topk"]) + history, session.n_items - 1)

    def asked(interaction: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        user = interaction[model.USER_ID].numpy() if model.USER_ID in interaction else None
        return interaction[model.ITEM_SEQ].numpy(), interaction[model.ITEM_SEQ_LEN].numpy(), user

    # With the history: whoever evaluates leaves it out, or not.
    def topk(interaction: Any, k: int) -> tuple[Tensor, Tensor]:
        item_seq, length, user = asked(interaction)
        ids, scores = session.topk(item_seq, length, k, False, user=user)
        return torch.from_numpy(scores), torch.from_numpy(ids)

    def full_sort_predict(interaction: Any) -> Tensor:
        if session.has_all_scores:
            return torch.from_numpy(session.all_scores(*asked(interaction)))
        scores, ids = topk(interaction, enough)
        matrix = torch.full((len(ids), session.n_items), -torch.inf)
        return matrix.scatter_(1, ids, scores)

    def predict(interaction: Any) -> Tensor:
        item_seq, length, user = asked(interaction)
        chosen = interaction[model.ITEM_ID].numpy()[:, None]
        pieces = []
        for start in range(0, len(chosen), at_once):
            rows = slice(start, start + at_once)
            some = None if user is None else user[rows]
            found = session.topk(item_seq[rows], length[rows], 1, False, chosen[rows], some)
            pieces.append(found[1][:, 0])
        return torch.from_numpy(np.concatenate(pieces))

    def calculate_loss(interaction: Any) -> Tensor:
        raise NotImplementedError(f"{session.path}: an exported file answers, it has no loss")

    # What RecBole's trainers ask (of sampled items, of all), and what ours do.
    model.predict, model.full_sort_predict, model.topk = predict, full_sort_predict, topk
    model.calculate_loss = calculate_loss
    return model


def artifact_card(card: dict[str, Any], path: str, requests: tuple[Tensor, Tensor]) -> None:
    """Put what was measured on the file itself where the model's numbers stood."""
    found = measured(path, requests[0].numpy(), requests[1].numpy())
    single, several = found["latency_ms"]
    card["latency_ms"] = single
    card["latency_ms_batch_32"] = several
    card["resident_bytes"] = found["resident_bytes"]
    file_bytes = card["size_bytes"]["file"]
    card["size_bytes"] = {**dict.fromkeys(card["size_bytes"]), "file": file_bytes}
