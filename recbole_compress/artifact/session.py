"""An exported file as a function on arrays of item ids."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime

from recbole_compress.artifact import checksum, metadata
from recbole_compress.artifact.request_arrays import item_ids, lengths, whole_numbers
from recbole_compress.errors import ArtifactError
from recbole_compress.steady_memory import hand_back

__all__ = ["Session", "open_session"]

_ERRORS_ONLY = 3


def open_session(content: str | bytes, threads: int, path: str) -> onnxruntime.InferenceSession:
    """ONNX Runtime's session on the processor.

    Args:
        content: The file's name, or what it holds.
        threads: How many to use; 0 for as many as there are cores.
        path: For messages.

    Raises:
        ArtifactError: Damaged, or made for other operators than this onnxruntime has.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = " ".join(str(error).split())[:240]
        if any(hint in reason for hint in _MISSING_OPERATOR):
            raise ArtifactError(
                f"{path}: made for operators that onnxruntime {onnxruntime.__version__} does not "
                f"have; install a newer one ({reason})"
            ) from error
        raise ArtifactError(f"{path}: damaged, or no ONNX file ({reason})") from error
    hand_back()  # what integers were widened with: two thirds of it all, at a million items
    return session


_MISSING_OPERATOR = (
    "is not a registered function/op",
    "NOT_IMPLEMENTED",
    "No Op registered",
    "Could not find an implementation",
    "is under development",
    "opset",
)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


class Session:
    """An exported file, ids in and ids out.

    Args:
        path: The file.
        threads: See :func:`open_session`.

    Attributes:
        described: What the file says of itself, see :mod:`~recbole_compress.artifact.metadata`.

    Raises:
        ArtifactError: A file that cannot be used; nothing of it is run before it is checked.
    """

    def __init__(self, path: str, threads: int = 1) -> None:
        if not isinstance(threads, int) or threads < 0:
            raise ArtifactError(f"threads={threads}: choose 1 or more, or 0 for all cores")
        checksum.check(path)
        self.path = path
        self._session = open_session(path, threads, path)
        self.described: dict[str, Any] = metadata.read(
            self._session.get_modelmeta().custom_metadata_map, path
        )
        self.n_items = self._number("n_items")
        self.max_length = self._number("max_length")
        self._check_tokens()
        self.has_all_scores = "all_scores" in {out.name for out in self._session.get_outputs()}
        self._known = {given.name for given in self._session.get_inputs()} | {
            given.name for given in self._session.get_overridable_initializers()
        }

    def said(self, name: str) -> Any:
        """What the file says of itself under a name.

        Raises:
            ArtifactError: Nothing.
        """
        if name not in self.described:
            raise ArtifactError(f"{self.path}: says nothing of its {name}; export the model again")
        return self.described[name]

    def _number(self, name: str) -> int:
        number = self.said(name)
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ArtifactError(
                f"{self.path}: says {name}={str(number)[:80]}, expected a whole number above 0; "
                "export the model again"
            )
        return number

    def _check_tokens(self) -> None:
        tokens = self.described.get("item_tokens")
        if tokens is not None and (not _are_texts(tokens) or len(tokens) != self.n_items):
            raise ArtifactError(
                f"{self.path}: its item_tokens are not a list of {self.n_items} texts, one for "
                "each id; export the model again"
            )
        users = self.described.get("user_tokens")
        if users is not None and not _are_texts(users):
            raise ArtifactError(
                f"{self.path}: its user_tokens are not a list of texts; export the model again"
            )

    def topk(
        self,
        item_seq: np.ndarray,
        length: np.ndarray,
        k: int | None = None,
        exclude_history: bool | None = None,
        candidates: np.ndarray | None = None,
        user: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best items of every row: ids and scores ``(B, k)``, best first.

        Args:
            item_seq: Item ids ``(B, L)``, right-padded with 0, oldest first; of longer ones than
                ``max_length`` the newest items are read.
            length: ``(B,)``.
            k: How many; the file's own number if None.
            exclude_history: Leave out the items of the row itself; as the file has it if None.
            candidates: Item ids ``(B, C)`` or ``(1, C)``, the only ones to rank.
            user: User ids ``(B,)``, for models that ask for them.

        Raises:
            ArtifactError: An id that no item has, arrays of other shapes, no candidate, a ``k``
                that is no number of items.
        """
        feed = self._feed(item_seq, length, user)
        rows = len(feed["item_seq"])
        if k is not None:
            if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
                raise ArtifactError(f"k={k!r}: choose a whole number from 1 on")
            feed["k"] = np.array([k], np.int64)
        if exclude_history is not None:
            feed["exclude_history"] = np.array([exclude_history], bool)
        if candidates is not None:
            chosen = item_ids(candidates, "candidates", self.n_items)
            if len(chosen) not in (1, rows) or not chosen.shape[1]:
                raise ArtifactError(
                    f"candidates: have the shape {chosen.shape}, expected at least one item, in "
                    f"one row for all or in {rows}"
                )
            feed["candidates"] = chosen
        if not rows:  # some operators want a row
            width = self.said("k") if k is None else k
            return np.zeros((0, width), np.int64), np.zeros((0, width), np.float32)
        ids, scores = self._run(["items", "scores"], feed)
        return ids, scores

    def all_scores(
        self, item_seq: np.ndarray, length: np.ndarray, user: np.ndarray | None = None
    ) -> np.ndarray:
        """Scores of all items ``(B, n_items)``, padding at ``-inf``.

        Raises:
            ArtifactError: A file that was exported without them.
        """
        if not self.has_all_scores:
            raise ArtifactError(
                f"{self.path}: has no scores of all items; export with --all-scores"
            )
        feed = self._feed(item_seq, length, user)
        if not len(feed["item_seq"]):
            return np.zeros((0, self.n_items), np.float32)
        (scores,) = self._run(["all_scores"], feed)
        return scores

    def _run(self, outputs: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        try:
            return self._session.run(outputs, feed)
        except Exception as error:  # onnxruntime's own, of no common class
            reason = " ".join(str(error).split())[:240]
            raise ArtifactError(f"{self.path}: cannot answer this request ({reason})") from error

    def _feed(self, item_seq: Any, length: Any, user: Any) -> dict[str, np.ndarray]:
        given = item_ids(item_seq, "item_seq", self.n_items)
        feed = {"item_seq": given, "length": lengths(length, given)}
        if given.shape[1] == 0:  # some operators want a column
            feed["item_seq"] = np.zeros((len(given), 1), np.int64)
        if user is not None and "user" in self._known:
            feed["user"] = users = whole_numbers(user, "user", len(given))
            if users.size and users.min() < 0:  # an operator would count from the end
                raise ArtifactError(f"user={users.min()}: ids of users are 0 or more")
        return feed
