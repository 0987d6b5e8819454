"""Hyperopt as a tool: one trial after another, in this process."""

from __future__ import annotations

from typing import Any

from recbole_compress.tuning.hyperopt_search import Search, require_hyperopt
from recbole_compress.tuning.tool import SearchJob, Tool
from recbole_compress.tuning.trials import STOPPED

__all__ = ["HyperoptTool"]


class HyperoptTool(Tool):
    """RecBole's way; knows all algorithms, and when to stop."""

    own_options = ("early_stop",)
    algos = ("bayes", "random", "exhaustive")

    def require(self) -> None:
        require_hyperopt()

    def run(self, job: SearchJob) -> None:
        def once(settings: dict[str, Any]) -> dict[str, Any]:
            """The trial of these settings, from the file if it was run before."""
            known = job.trials.find(settings)
            if known is not None and known["status"] != STOPPED:
                return known
            record = job.trial(settings)
            job.keep(record)
            return record

        Search(
            once,
            job.space,
            self.options.algo,
            self.options.limit,
            self.options.early_stop,
            bigger=job.trials.bigger,
            seed=job.seed,
        ).run()
