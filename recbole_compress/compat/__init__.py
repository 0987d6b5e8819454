"""Work-arounds that let RecBole 1.2.1 run on the current stack, one per file.

Each changes nothing it need not, and each says which line of RecBole needs it:

- ``numpy_names``: names that numpy 2 removed and ``Config.compatibility_settings`` reads.
- ``ray_stub``: ``recbole.quick_start`` imports ray, which nothing here uses.
- ``ray_report``: and where there is a ray, RecBole reports to it as to an old one.
- ``anomaly_mode``: RecBole's sequential package switches autograd anomaly mode on.
- ``cpr_ranking``: two models of RecBole's want the next item to be told before they rank.
- ``shared_folders``: of two runs that start together, RecBole lets one die on a folder made twice.

Not here, because a subclass does it better: ``torch.load`` (see ``trainers.checkpoint``) and the
collector's metrics that crash (see ``trainers.collector``).
"""

from recbole_compress.compat import (
    anomaly_mode,
    cpr_ranking,
    numpy_names,
    ray_report,
    ray_stub,
    shared_folders,
)

__all__ = ["apply"]


def apply() -> None:
    """Apply every work-around. Idempotent; must run before ``recbole.quick_start`` is imported."""
    numpy_names.restore()
    anomaly_mode.import_without_anomaly_mode()
    ray_stub.import_quick_start()
    cpr_ranking.mend()
    ray_report.adapt()
    shared_folders.share()
