"""How often items occur in real and in made-up sequences, as PRecQ's Figure 5.

Needs matplotlib (extra ``plot``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from recbole_compress.files import replacing

__all__ = ["draw"]

_BINS = 30
_BESIDE = 4  # histograms in a row


def draw(found: dict[str, Any], path: str) -> None:
    """One histogram of item frequencies per source, over that of the real data.

    Args:
        found: See :func:`recbole_compress.quick_start.synthetic.compare_with_real_data`.
        path: A ``.png`` file to write.
    """
    sources = found["sources"]
    columns = min(_BESIDE, len(sources))
    rows = -(-len(sources) // columns)
    figure = Figure(figsize=(3.2 * columns, 0.2 + 2.6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    axes = grid.flat[: len(sources)]
    for unused in grid.flat[len(sources) :]:
        unused.set_axis_off()
    real = _share(found["real"])
    shares = [_share(source["counts"]) for source in sources]
    least = min(share[share > 0].min() for share in (real, *shares))
    edges = np.geomspace(least, max(share.max() for share in (real, *shares)) * 1.01, _BINS)
    for axis, source, share in zip(axes, sources, shares, strict=True):
        axis.hist(np.maximum(real, least), edges, color="0.75", label="real")
        axis.hist(np.maximum(share, least), edges, histtype="step", color="C0", label="made up")
        axis.set_xscale("log")
        axis.set_title(f"{source['name']} (Spearman {source['spearman']:.2f})", fontsize=9)
        axis.set_xlabel("share of all interactions")
    for first in grid[:, 0]:
        first.set_ylabel("items")
    axes[0].legend(fontsize=8)
    figure.suptitle(f"{found['model']} on {found['dataset']}", fontsize=10)
    with replacing(path, "wb") as file:
        figure.savefig(file, format="png", dpi=120)


def _share(counts: list[int]) -> np.ndarray:
    array = np.asarray(counts, dtype=float)
    return array / max(1.0, array.sum())
