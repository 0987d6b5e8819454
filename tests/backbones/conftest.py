"""Fixtures for the suite that every backbone goes through."""

from __future__ import annotations

import pytest
import torch

from tests.backbones.variants import VARIANTS


@pytest.fixture(params=VARIANTS)
def make(request):
    """A function that builds the variant, freshly drawn at each call."""
    return VARIANTS[request.param]


@pytest.fixture
def backbone(make):
    """The variant with every parameter moved off its initial value, in evaluation mode.

    Biases and norms start at 0 and 1, where several mistakes would not show.
    """
    module = make().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return module
