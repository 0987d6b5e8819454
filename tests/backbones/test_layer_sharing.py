"""Sharing plans, and that a network stores and trains exactly what its plan says."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_compress.backbones import SHARING_SCHEMES, NextItNet, SASRec, sharing_plan
from recbole_compress.backbones.layer_sharing import n_parameter_sets

N_KERNELS = {  # the paper's table, for r residual blocks
    "none": lambda r: 2 * r,
    "cross_layer": lambda r: 1,
    "cross_block": lambda r: 2,
    "adjacent_layer": lambda r: r,
    "adjacent_block": lambda r: 2 * ((r + 1) // 2),
}
schemes = st.sampled_from(sorted(SHARING_SCHEMES))


def test_every_scheme_is_in_the_table():
    assert N_KERNELS.keys() == SHARING_SCHEMES.keys()


@given(scheme=schemes, depth=st.integers(1, 17), width=st.integers(1, 4))
def test_plan_is_complete_and_numbered_in_order_of_first_use(scheme, depth, width):
    plan = sharing_plan(scheme, depth, width)
    assert len(plan) == depth and {len(row) for row in plan} == {width}
    flat = [index for row in plan for index in row]
    assert list(dict.fromkeys(flat)) == list(range(n_parameter_sets(plan)))


@given(scheme=schemes, depth=st.integers(1, 17))
def test_number_of_kernels(scheme, depth):
    assert n_parameter_sets(sharing_plan(scheme, depth)) == N_KERNELS[scheme](depth)


def test_adjacent_block_at_odd_depth_leaves_the_last_alone():
    assert sharing_plan("adjacent_block", 5) == ((0, 1), (0, 1), (2, 3), (2, 3), (4, 5))


@pytest.mark.parametrize("scheme", SHARING_SCHEMES)
@pytest.mark.parametrize("depth", [1, 3, 4, 8])
def test_parameter_count_is_the_papers_formula(scheme, depth):
    d, m = 512, N_KERNELS[scheme](depth)
    with torch.device("meta"):
        backbone = NextItNet(d, dilations=(1, 4, 1, 4, 1, 4, 1, 4)[:depth], layer_sharing=scheme)
    counted = sum(parameter.numel() for parameter in backbone.parameters())
    assert counted == m * (3 * d * d + d) + 2 * depth * 2 * d


@pytest.mark.parametrize(
    ("depth", "scheme", "millions"),
    [
        (4, "none", 6.30),
        (4, "cross_layer", 0.80),
        (4, "cross_block", 1.58),
        (4, "adjacent_layer", 3.16),
        (4, "adjacent_block", 3.16),
        (8, "none", 12.6),
        (8, "cross_layer", 0.80),
        (8, "cross_block", 1.59),
        (8, "adjacent_layer", 6.31),
        (8, "adjacent_block", 6.31),
    ],
)
def test_parameter_counts_at_the_papers_size(depth, scheme, millions):
    with torch.device("meta"):
        backbone = NextItNet(512, dilations=(1, 4) * (depth // 2), layer_sharing=scheme)
    counted = sum(parameter.numel() for parameter in backbone.parameters()) / 1e6
    assert counted == pytest.approx(millions, abs=0.011)


@pytest.mark.parametrize("scheme", SHARING_SCHEMES)
@pytest.mark.parametrize("depth", [3, 4])
def test_sharing_equals_an_unshared_network_with_copied_kernels(scheme, depth):
    """One kernel in many places computes what as many equal kernels would; gradients add up."""
    dilations = (1, 4, 1, 4)[:depth]
    shared = NextItNet(6, dilations, layer_sharing=scheme)
    unshared = NextItNet(6, dilations)
    with torch.no_grad():
        for parameter in shared.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    unshared.residual_blocks.load_state_dict(shared.residual_blocks.state_dict())
    users = [index for row in shared.plan for index in row]
    for copy, index in zip(unshared.convolutions, users, strict=True):
        copy.load_state_dict(shared.convolutions[index].state_dict())

    embedded, lengths = torch.randn(3, 9, 6), torch.tensor([9, 9, 9])
    outs = [backbone(embedded, lengths) for backbone in (shared, unshared)]
    torch.testing.assert_close(*outs, rtol=1e-5, atol=1e-6)
    direction = torch.randn_like(outs[0])
    for out in outs:
        (out * direction).sum().backward()
    for index, convolution in enumerate(shared.convolutions):
        for name, parameter in convolution.named_parameters():
            total = sum(
                copy.get_parameter(name).grad
                for copy, user in zip(unshared.convolutions, users, strict=True)
                if user == index
            )
            torch.testing.assert_close(parameter.grad, total, rtol=1e-3, atol=1e-4)


def test_layer_norms_are_never_shared():
    backbone = NextItNet(4, dilations=(1, 2, 4), layer_sharing="cross_layer")
    norms = [norm for block in backbone.residual_blocks for norm in block.norms]
    assert len({id(norm.weight) for norm in norms}) == 6


def test_shared_weights_are_saved_once():
    state = NextItNet(4, layer_sharing="cross_layer").state_dict()
    assert [key for key in state if key.startswith("convolutions")] == [
        "convolutions.0.weight",
        "convolutions.0.bias",
    ]


def test_sharing_saves_no_arithmetic():
    assert NextItNet(4, layer_sharing="cross_layer").macs(7) == NextItNet(4).macs(7)


@pytest.mark.parametrize(
    ("scheme", "n_layers"), [("none", 5), ("cross_layer", 1), ("adjacent_block", 3)]
)
def test_sasrec_shares_whole_layers(scheme, n_layers):
    backbone = SASRec(4, num_layers=5, inner_size=6, layer_sharing=scheme)
    assert len(backbone.layers) == n_layers
    assert backbone.macs(7) == SASRec(4, num_layers=5, inner_size=6).macs(7)


@pytest.mark.parametrize("scheme", ["cross_block", "adjacent_layer"])
def test_sasrec_refuses_schemes_that_split_a_layer(scheme):
    with pytest.raises(ValueError, match=f"'{scheme}'.*choose one of none, cross_layer"):
        SASRec(4, layer_sharing=scheme)


@pytest.mark.parametrize(
    "build", [lambda s: sharing_plan(s, 2), lambda s: NextItNet(4, (1,), 3, "b", s)]
)
def test_unknown_scheme_names_a_near_one(build):
    with pytest.raises(
        ValueError, match="layer_sharing='adjacent_blok': did you mean 'adjacent_block'"
    ):
        build("adjacent_blok")
    with pytest.raises(ValueError, match="layer_sharing='Xyz': choose one of adjacent_block"):
        build("Xyz")


def test_refuses_an_empty_network():
    with pytest.raises(ValueError, match="n_residual_blocks=0"):
        sharing_plan("none", 0)
