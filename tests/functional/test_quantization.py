"""Integers are defined once: codes, grids, their errors and gradients, against naive arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_compress.errors import QuantizationError
from recbole_compress.functional.integer_grid import scale_shape
from recbole_compress.functional.quantization import (
    dequantize,
    encode,
    fake_quantize,
    find_grid,
    quantize,
)
from recbole_compress.functional.quantization_ranges import RANGE_FINDERS

UNITS = [("tensor", None), ("row", None), ("group", 4)]
formats = st.tuples(
    st.integers(1, 8),
    st.sampled_from(UNITS),
    st.booleans(),
    st.sampled_from([torch.float32, torch.float16]),
    st.sampled_from(sorted(RANGE_FINDERS)),
).filter(lambda f: f[0] > 1 or f[2])


def numbers(seed: int, shape: tuple[int, ...] = (6, 12)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator) ** 3
    x[seed % shape[0]] = 0  # a padding row
    return x


@settings(max_examples=60, deadline=None)
@given(formats, st.integers(0, 10**6))
def test_every_format_keeps_its_laws(format_, seed):
    bits, (granularity, group_size), symmetric, scale_dtype, finder = format_
    x = numbers(seed)
    codes, scales, zeros = quantize(
        x, bits, granularity, group_size, symmetric, scale_dtype, finder
    )
    assert codes.dtype == torch.uint8 and codes.shape == x.shape and int(codes.max()) < 2**bits
    assert scales.dtype == scale_dtype
    assert scales.shape == scale_shape(x.shape, granularity, group_size)
    assert (zeros is None) == symmetric and (zeros is None or zeros.dtype == torch.uint8)

    values = dequantize(codes, scales, zeros, bits)
    assert torch.equal(fake_quantize(x, scales, zeros, bits), values)  # to the last bit
    assert torch.equal(fake_quantize(values, scales, zeros, bits), values)  # grid points stay
    if granularity != "tensor" or bits > 1:
        assert not values[seed % 6].any()  # zeros stay zeros

    # the definition, number by number, in another library
    per_unit = x.numel() // scales.numel()
    s = scales.float().repeat_interleave(per_unit).numpy()
    middle = 0.5 if bits == 1 else 2 ** (bits - 1)
    z = middle if zeros is None else zeros.repeat_interleave(per_unit).numpy().astype("float32")
    place = np.divide(x.flatten().numpy(), s, out=np.zeros_like(s), where=s != 0) + z
    naive = np.clip(np.rint(place.astype("float32")), 0, 2**bits - 1)
    assert np.array_equal(naive, codes.flatten().numpy())
    assert np.array_equal(((naive - z) * s).astype("float32"), values.flatten().numpy())


@pytest.mark.parametrize("bits", range(1, 9))
def test_the_nearest_grid_point_is_taken(bits):
    x = numbers(3)
    scales, _ = find_grid(x, bits)
    every = torch.arange(2**bits, dtype=torch.uint8).expand(len(x), -1)
    grid = dequantize(every, scales, None, bits)
    nearest = (x[:, :, None] - grid[:, None]).abs().amin(-1)
    assert torch.allclose((fake_quantize(x, scales, None, bits) - x).abs(), nearest, atol=1e-6)


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("granularity, group_size", UNITS)
def test_clipping_never_costs_squared_error(bits, granularity, group_size):
    def error(symmetric, finder):
        found = quantize(x, bits, granularity, group_size, symmetric, torch.float32, finder)
        return (dequantize(*found, bits) - x).square().view(len(x), -1).sum().item()

    x = numbers(11, (20, 64))
    for symmetric in (True, False):
        assert error(symmetric, "mse") <= error(symmetric, "absolute_maximum") * (1 + 1e-5)
    # the asymmetric grids include the symmetric ones
    assert error(False, "mse") <= error(True, "mse") * (1 + 1e-5)


def test_least_error_is_close_to_the_best_of_a_fine_search():
    x = torch.randn(8, 64, generator=torch.Generator().manual_seed(1))
    for bits in (2, 3, 4):
        scales, _ = find_grid(x, bits)
        found = (fake_quantize(x, scales, None, bits) - x).square().sum(-1)
        best = torch.full_like(found, torch.inf)
        for step in torch.linspace(0.01, 4, 2000):
            for signed in (step, -step):
                column = torch.full((8, 1), signed.item())
                error = (fake_quantize(x, column, None, bits) - x).square().sum(-1)
                best = torch.minimum(best, error)
        assert (found <= best * 1.03).all(), bits


def test_absolute_maximum_reaches_everything():
    x = numbers(5)
    for bits in (2, 4, 8):
        for symmetric in (True, False):
            scales, zeros = find_grid(x, bits, symmetric=symmetric, range_finder="absolute_maximum")
            error = (fake_quantize(x, scales, zeros, bits) - x).abs()
            # Rounding the zero point moves an asymmetric range by half a step at most.
            assert (error <= scales.abs() * (0.5 if symmetric else 1.0) + 1e-6).all()


def test_percentile_ignores_the_few_largest():
    x = torch.cat([torch.ones(1, 99), torch.full((1, 1), 100.0)], 1)
    scales, _ = find_grid(x, 8, range_finder="percentile_99")
    assert scales.item() == pytest.approx(1 / 127)


def test_one_bit_is_sign_times_mean_magnitude():
    x = torch.tensor([[1.0, -3.0, 0.5, -0.5]])
    codes, scales, _ = quantize(x, 1)
    assert dequantize(codes, scales, None, 1).tolist() == [[1.25, -1.25, 1.25, -1.25]]


def test_fp16_scales_are_the_ones_used():
    x = torch.tensor([[0.1, 0.2, 0.3]])
    codes, scales, _ = quantize(x, 8, scale_dtype=torch.float16, range_finder="absolute_maximum")
    expected = (codes.double() - 128) * scales.double()
    assert torch.equal(dequantize(codes, scales, None, 8).double(), expected.float().double())


# -- gradients --------------------------------------------------------------------------------


def test_gradients_go_straight_through_and_stop_where_clipped():
    x = torch.tensor([[-5.0, -2.2, 0.3, 1.2, 4.0]], requires_grad=True)
    scales = torch.tensor([[1.0]], requires_grad=True)
    fake_quantize(x, scales, None, 2).sum().backward()  # -2 .. 1
    assert x.grad.tolist() == [[0, 1, 1, 1, 0]]
    # clipped: the end of the grid; else rounding error: -2, 0.2, -0.3, -0.2, 1
    assert scales.grad.item() == pytest.approx(-2 + 0.2 - 0.3 - 0.2 + 1)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 8), st.integers(0, 10**6))
def test_learned_steps_are_what_autograd_says(bits, seed):
    """The hand-written backward pass against one that torch derives from round-as-identity."""

    def derived(x, scales):
        middle = 0.5 if bits == 1 else 2 ** (bits - 1)
        place = x / scales + middle
        rounded = place + (place.round() - place).detach()
        return (rounded.clamp(0, 2**bits - 1) - middle) * scales

    x = numbers(seed).double()[:, :8] + 0.01
    scales = find_grid(x, bits)[0].double()
    upstream = torch.randn_like(x)
    gradients = []
    for function in (lambda x, s: fake_quantize(x, s, None, bits), derived):
        inputs = x.clone().requires_grad_(), scales.clone().requires_grad_()
        (function(*inputs) * upstream).sum().backward()
        gradients.append([tensor.grad for tensor in inputs])
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-9)


# -- what cannot be ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"bits": 0}, "bits=0: choose a whole number from 1 to 8"),
        ({"bits": 9}, "bits=9"),
        ({"bits": 2.5}, "bits=2.5"),
        ({"bits": True}, "bits=True"),
        ({"bits": 1, "symmetric": False}, "one bit tells signs apart"),
        ({"bits": 4, "granularity": "rows"}, "did you mean 'row'"),
        ({"bits": 4, "granularity": "group", "group_size": 5}, "does not divide the width 12"),
        ({"bits": 4, "granularity": "group"}, "group_size=None"),
        ({"bits": 4, "granularity": "group", "group_size": -4}, "group_size=-4"),
        ({"bits": 4, "range_finder": "mean"}, "range_finder='mean'"),
    ],
)
def test_settings_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(QuantizationError, match=message.replace("(", r"\(")):
        quantize(numbers(1), **arguments)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_numbers_that_are_none_are_refused(wrong):
    x = numbers(1)
    x[2, 3] = wrong
    with pytest.raises(QuantizationError, match="1 of 72 numbers are NaN or infinite"):
        quantize(x, 4)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("dtype, size", [(torch.float32, 1e30), (torch.float16, 1e3)])
def test_numbers_whose_squares_overflow_are_not_taken_for_zeros(dtype, size, symmetric):
    x = (numbers(1) * size / numbers(1).abs().amax()).to(dtype)
    scales, zero_points = find_grid(x, 4, symmetric=symmetric)
    assert torch.equal(scales == 0, (x == 0).all(1, keepdim=True))
    values = fake_quantize(x, scales.to(dtype), zero_points, 4)
    assert (values.double() - x.double()).norm() < 0.2 * x.double().norm()


def test_a_scale_too_large_for_its_dtype_is_refused():
    with pytest.raises(QuantizationError, match="scale_dtype=float16"):
        quantize(torch.full((1, 4), 1e9), 2, scale_dtype=torch.float16)


def test_a_tensor_too_small_for_its_scales_dtype_is_refused_but_not_a_row_of_it():
    x = torch.full((2, 4), 1e-7)
    with pytest.raises(QuantizationError, match="scale_dtype=float16: cannot hold a scale of"):
        quantize(x, 4, scale_dtype=torch.float16)
    x[0] = 1.0
    assert quantize(x, 4, scale_dtype=torch.float16).scales[0] > 0
    assert not quantize(torch.zeros(2, 4), 4, scale_dtype=torch.float16).scales.any()


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_short_floats_go_to_the_nearest_grid_point_too(bits, dtype):
    x = torch.randn(50, 64, generator=torch.Generator().manual_seed(1)).to(dtype)
    codes, scales, zero_points = quantize(x, bits, symmetric=False)
    assert torch.equal(codes, encode(x.float(), scales, zero_points, bits))
    told = fake_quantize(x, scales, zero_points, bits)
    assert told.dtype == dtype
    assert torch.equal(told, dequantize(codes, scales, zero_points, bits, dtype))
    x.requires_grad_()
    fake_quantize(x, scales, zero_points, bits).sum().backward()
    assert x.grad.dtype == dtype
