"""Ray as a tool: several trials at once, each in a process with cores and GPUs of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from recbole_compress.errors import CheckpointError, DataError, RecBoleCompressError
from recbole_compress.tuning.ray_search import points_to_try, require_ray, search_with_ray
from recbole_compress.tuning.tool import RunTrial, SearchJob, Tool
from recbole_compress.tuning.trials import FAILED, STOPPED

__all__ = ["RayTool"]


class RayTool(Tool):
    """Ray Tune; can end bad trials early."""

    own_options = ("scheduler", "cpus_per_trial", "gpus_per_trial")
    algos = ("random", "exhaustive")

    def require(self) -> None:
        require_ray()

    @property
    def resources(self) -> str:
        cpus, gpus = self.options.cpus_per_trial, self.options.gpus_per_trial
        return f"{cpus} cores and {gpus:g} GPUs per trial"

    @property
    def default_settings(self) -> dict[str, Any]:
        return {"threads": self.options.cpus_per_trial}

    @property
    def fixed_settings(self) -> dict[str, Any]:
        return {"use_gpu": self.options.gpus_per_trial > 0}

    def run(self, job: SearchJob) -> None:
        options, trials = self.options, job.trials
        asha = options.scheduler == "asha"
        # A trial that was ended early is whole enough only where that was asked for.
        todo = [
            point
            for point in points_to_try(job.space, options.algo, options.limit, job.seed)
            if (known := trials.find(point)) is None or (known["status"] == STOPPED and not asha)
        ]
        fatal: list[str] = []

        def ended(record: dict[str, Any]) -> None:
            if "fatal" in record:
                fatal.append(record["fatal"])
            else:
                job.keep(record)

        if todo:
            search_with_ray(
                partial(_in_ray, job.trial, options.gpus_per_trial > 0),
                todo,
                ended,
                cpus=options.cpus_per_trial,
                gpus=options.gpus_per_trial,
                bigger=trials.bigger,
                epochs=job.epochs,
                asha=asha,
            )
        if fatal:
            raise RecBoleCompressError(fatal[0])


def _in_ray(
    trial: RunTrial,
    on_gpu: bool,
    settings: dict[str, Any],
    after_evaluation: Callable[[int, float], None],
) -> dict[str, Any]:
    """A trial in a process of Ray's, which cannot end the whole search itself."""
    # RecBole sets this variable from gpu_id, and so would leave the GPU that Ray gave the trial.
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
    its_gpu = [f"--gpu_id={gpus}"] if gpus and on_gpu else []
    try:
        return trial(settings, after_evaluation, its_gpu)
    except (DataError, CheckpointError) as error:
        return {"settings": settings, "status": FAILED, "score": None, "fatal": str(error)}
