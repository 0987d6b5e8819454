"""Keep autograd's anomaly mode as the user had it.

``recbole/model/sequential_recommender/sine.py`` calls ``torch.autograd.set_detect_anomaly(True)``
at import, and the package imports every model, so all sequential training runs about twice too
slowly.
"""

import importlib

import torch

__all__ = ["import_without_anomaly_mode"]


def import_without_anomaly_mode() -> None:
    """Import RecBole's sequential models, then put anomaly mode back to what it was."""
    before = torch.is_anomaly_enabled()
    importlib.import_module("recbole.model.sequential_recommender")
    torch.autograd.set_detect_anomaly(before)
