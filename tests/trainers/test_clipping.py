"""Gradients are clipped in their own size, whoever has scaled them."""

from __future__ import annotations

import pytest
import torch

from recbole_compress.trainers.clipping import clip_before_steps


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("scale", [None, 65_536.0])
def test_the_bound_is_on_gradients_without_their_scale(fused, scale):
    weight = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.Adam([weight], fused=fused)
    clip_before_steps(optimizer, [weight], {"max_norm": 5.0, "norm_type": 2})
    weight.grad = torch.tensor([30.0, 40.0])
    if scale is not None and fused:  # as torch's GradScaler leaves it to such a step
        weight.grad *= scale
        optimizer.grad_scale, optimizer.found_inf = torch.tensor(scale), torch.tensor(0.0)
    optimizer.step()
    met = optimizer.state[weight]["exp_avg"] / (1 - 0.9)
    torch.testing.assert_close(met, torch.tensor([3.0, 4.0]), rtol=1e-4, atol=0)
