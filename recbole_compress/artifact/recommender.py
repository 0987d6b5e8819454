"""From item tokens to item tokens."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from recbole_compress.artifact.session import Session
from recbole_compress.errors import ArtifactError

__all__ = ["Recommendation", "Recommender"]

# Of an id, which is an int64.
_MOST_DIGITS = 18


class Recommendation(NamedTuple):
    """An item and how well it goes on from a history.

    Attributes:
        item: Its token, as in the data set; its id as text where the file has no tokens.
        score: The model's; higher is better.
    """

    item: str
    score: float


class Recommender:
    """An exported model, ready to be asked.

    Args:
        path: A file of ``recbole-compress export``.
        threads: How many to use; 0 for as many as there are cores.

    Attributes:
        info: What the file says of itself: model, data set, configuration, metrics, …
        max_length: Of longer histories the newest so many items are read; ``exclude_history``
            leaves out all of them.

    Raises:
        ArtifactError: A file that is damaged, of another schema version, or made for operators
            that this onnxruntime does not have.
    """

    def __init__(self, path: str, threads: int = 1) -> None:
        self.session = Session(path, threads)
        described = dict(self.session.described)
        self._tokens = described.pop("item_tokens", None)
        self._users = described.pop("user_tokens", None)
        self._id_of = None if self._tokens is None else _ids(self._tokens)
        self._user_id_of = {} if self._users is None else _ids(self._users)
        self.info: dict[str, Any] = described
        self.max_length = self.session.max_length

    @property
    def items(self) -> list[str]:
        """All item tokens, in the order of their ids."""
        if self._tokens is None:
            return [str(i) for i in range(1, self.session.n_items)]
        return list(self._tokens[1:])

    def recommend(
        self,
        history: Iterable[str],
        k: int | None = None,
        exclude_history: bool | None = None,
        candidates: Iterable[str] | None = None,
        user: str | None = None,
    ) -> list[Recommendation]:
        """The ``k`` items that go on best from a history, oldest item first; best first.

        Args:
            history: Item tokens, at least one.
            k: How many; the file's own number, ``info["k"]``, if None.
            exclude_history: Recommend nothing that is in the history; None for what the export was
                told, ``info["exclude_history"]``.
            candidates: Rank these alone.
            user: Who asks, for the few models that want to know.

        Raises:
            ArtifactError: An unknown token, an empty history, a ``k`` that there are not so many
                items for.
        """
        users = None if user is None else [user]
        return self.recommend_batch([history], k, exclude_history, candidates, users)[0]

    def recommend_batch(
        self,
        histories: Iterable[Iterable[str]],
        k: int | None = None,
        exclude_history: bool | None = None,
        candidates: Iterable[str] | None = None,
        users: Sequence[str] | None = None,
    ) -> list[list[Recommendation]]:
        """:meth:`recommend` for several histories at once; one list each, in their order."""
        if k is not None and not (_is_whole(k) and 1 <= k < self.session.n_items):
            raise ArtifactError(
                f"k={k}: choose 1 .. {self.session.n_items - 1}, the number of items"
            )
        if not (exclude_history is None or isinstance(exclude_history, (bool, np.bool_))):
            raise ArtifactError(f"exclude_history={exclude_history!r}: choose True or False")
        sequences = [self._history(history) for history in histories]
        if not sequences:
            return []
        if users is not None and len(users) != len(sequences):
            raise ArtifactError(f"{len(users)} users for {len(sequences)} histories: give one each")
        length = np.array([len(ids) for ids in sequences])
        item_seq = np.zeros((len(sequences), int(length.max())), np.int64)
        for row, ids in zip(item_seq, sequences, strict=True):
            row[: len(ids)] = ids
        chosen = None
        if candidates is not None:
            distinct = list(dict.fromkeys(self._ids(self._list(candidates))))
            if not distinct:
                raise ArtifactError("no candidates: give at least one item, or leave them out")
            chosen = np.array([distinct])
        ids_of_users = None if users is None else np.array([self._user(user) for user in users])
        found = self.session.topk(item_seq, length, k, exclude_history, chosen, ids_of_users)
        return [
            [
                Recommendation(self._token(item), float(score))
                for item, score in zip(*row, strict=True)
                if score > -np.inf
            ]
            for row in zip(*found, strict=True)
        ]

    def _history(self, history: Iterable[str]) -> list[int]:
        tokens = self._list(history)
        if not tokens:
            raise ArtifactError("empty history: give at least one item")
        return self._ids(tokens)

    @staticmethod
    def _list(tokens: Iterable[str]) -> list[str]:
        if isinstance(tokens, str):
            raise ArtifactError(f"{tokens!r}: give a list of item tokens, not one text")
        return [str(token) for token in tokens]

    def _ids(self, tokens: Sequence[str]) -> list[int]:
        return [self._id(token) for token in tokens]

    def _id(self, token: str) -> int:
        if self._id_of is None:
            n = self.session.n_items
            if _is_id(token) and 1 <= int(token) < n:
                return int(token)
            raise ArtifactError(
                f"item {token!r}: the file has no item tokens; give ids from 1 to {n - 1}"
            )
        if token not in self._id_of:
            known = list(self._id_of)
            near = difflib.get_close_matches(token, known[:20_000], n=1) or known[:1]
            raise ArtifactError(
                f"unknown item {token!r}: the model knows {len(known)} items, "
                f"such as {near[0]!r}; leave unknown ones out"
                + ("; a space stands between two items" if "," in token else "")
            )
        return self._id_of[token]

    def _token(self, item: int) -> str:
        return str(item) if self._tokens is None else self._tokens[item]

    def _user(self, user: str) -> int:
        user = str(user)
        if user not in self._user_id_of:
            raise ArtifactError(f"unknown user {user!r}: leave the user out")
        return self._user_id_of[user]


def _is_whole(number: Any) -> bool:
    """numpy's whole numbers, too: that is what comes out of arrays of them."""
    return isinstance(number, (int, np.integer)) and not isinstance(number, bool)


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS


def _ids(tokens: Sequence[str]) -> dict[str, int]:
    """Ids by token; id 0 is padding and no item."""
    return {token: number for number, token in enumerate(tokens) if number}
