"""All trials of one search, kept in a JSON file so that none is ever run twice."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any

from recbole_compress.changed_defaults import CHANGED_DEFAULTS
from recbole_compress.errors import ConfigError
from recbole_compress.files import replacing

__all__ = ["FAILED", "FINISHED", "STOPPED", "Trials"]

FINISHED, FAILED, STOPPED = "finished", "failed", "stopped"
SCHEMA = 1


class Trials:
    """The finished, failed and stopped trials of one search, in the order in which they ended.

    A trial is a dict: ``settings`` (what was searched), ``status``, ``score`` (on the validation
    split, None if it failed), ``valid`` and ``test`` (metrics), and what else is known of it.
    The file is written whole after each, so an interrupted search goes on behind the last one.

    Args:
        path: The file; trials that are in it already count.
        search: What all trials have in common; a file about another search is refused.
        bigger: Whether a bigger score is better.
        left_open: Defaults that hold for all trials. They are noted, so that the file still tells
            what they were when they are others.

    Raises:
        ConfigError: The file is not of this search, or not readable.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     trials = Trials(f"{folder}/all.json", {"model": "M"}, bigger=True)
        ...     trials.add({"settings": {"a": 1}, "status": "finished", "score": 0.0})
        ...     trials.add({"settings": {"a": 2}, "status": "failed", "score": None})
        ...     again = Trials(f"{folder}/all.json", {"model": "M"}, bigger=True)
        >>> again.best()["settings"], again.find({"a": 2})["status"], again.find({"a": 3})
        ({'a': 1}, 'failed', None)
    """

    def __init__(
        self,
        path: str,
        search: Mapping[str, Any],
        bigger: bool,
        left_open: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = path
        self.bigger = bigger
        self.search = _as_json(search)
        self.left_open = _as_json(left_open or {})
        self.records: list[dict[str, Any]] = []
        if os.path.exists(path):
            self.records = self._read()
        self._by_settings = {_identity(r["settings"]): r for r in self.records}

    def _read(self) -> list[dict[str, Any]]:
        advice = "choose another --output_file, or delete it"
        try:
            with open(self.path, encoding="utf-8") as file:
                content = json.load(file)
            before, records = content["search"], content["trials"]
            open_before = content.get("left_open", {})
            known = all(isinstance(record["settings"], dict) for record in records)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{self.path}: not a file of trials ({error}); {advice}") from error
        if not known or not isinstance(before, dict) or not isinstance(open_before, dict):
            raise ConfigError(f"{self.path}: not a file of trials; {advice}")
        was, is_now = open_before | before, self.left_open | self.search
        for key in sorted({*before, *self.search}):
            old, new = was.get(key), is_now.get(key)
            if old != new:
                if key in CHANGED_DEFAULTS and key not in was:
                    advice += f', or note "{key}" in its "search" if you know what it was'
                raise ConfigError(
                    f"{self.path}: holds the trials of another search ({key} was {old!r}, is "
                    f"{new!r}); {advice}"
                )
        return records

    def find(self, settings: Mapping[str, Any]) -> dict[str, Any] | None:
        """The trial of these settings, if there was one."""
        return self._by_settings.get(_identity(settings))

    def add(self, record: dict[str, Any]) -> None:
        """Keep a trial, on disk too, in the place of an earlier one of these settings."""
        earlier = self.find(record["settings"])
        self.records = [*(kept for kept in self.records if kept is not earlier), record]
        self._by_settings[_identity(record["settings"])] = record
        with replacing(self.path) as file:
            content = {
                "schema": SCHEMA,
                "search": self.search,
                "left_open": self.left_open,
                "trials": self.records,
            }
            json.dump(content, file, indent=1, allow_nan=False)
            file.write("\n")

    def better(self, score: float, than: float | None) -> bool:
        """Whether ``score`` beats ``than``; anything beats None."""
        if than is None:
            return True
        return score > than if self.bigger else score < than

    def best(self) -> dict[str, Any] | None:
        """The finished trial with the best validation score, the first of equals."""
        best: dict[str, Any] | None = None
        for record in self.records:
            finished = record["status"] == FINISHED and math.isfinite(record["score"])
            if finished and self.better(record["score"], best["score"] if best else None):
                best = record
        return best


def _as_json(settings: Mapping[str, Any]) -> dict[str, Any]:
    """As the file gives them back."""
    return json.loads(json.dumps(settings, default=str))


def _identity(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True, default=str)
