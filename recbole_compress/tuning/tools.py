"""Every tool that can run the trials of a search, by the name that ``--tool`` gives it."""

from __future__ import annotations

from recbole_compress.tuning.hyperopt_tool import HyperoptTool
from recbole_compress.tuning.ray_tool import RayTool
from recbole_compress.tuning.tool import Tool

__all__ = ["TOOLS"]

TOOLS: dict[str, type[Tool]] = {"Hyperopt": HyperoptTool, "Ray": RayTool}
