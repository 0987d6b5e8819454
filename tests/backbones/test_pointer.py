"""The pointer against a loop over prefixes that takes its definition at its word."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from recbole_compress.backbones import Pointer
from recbole_compress.functional.pointed_states import unpack_pointers
from tests.largest_allocation import largest_tensor

DIM = 3
ITEM_SEQ = torch.tensor([[4, 7, 4, 4, 9, 7], [5, 5, 0, 0, 0, 0], [8, 0, 0, 0, 0, 0]])
LENGTHS = torch.tensor([6, 2, 1])


@pytest.fixture
def pointer() -> Pointer:
    torch.manual_seed(3)
    made = Pointer(DIM, max_length=6).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter))
    return made


def naive(pointer: Pointer, vector, items: list[int]) -> tuple[float, dict[int, float]]:
    """Gate and shares after ``items``."""
    age, weight, bias = (p.detach() for p in pointer.parameters())
    ages = torch.stack([age[len(items) - 1 - place] for place in range(len(items))])
    shares: dict[int, float] = {}
    for item, share in zip(items, ages.softmax(0).tolist(), strict=True):
        shares[item] = shares.get(item, 0.0) + share
    return float(weight @ vector + bias), shares


def carried(states) -> tuple[float, dict[int, float]]:
    """The same, of one packed state."""
    found = unpack_pointers(states.detach().unsqueeze(0), DIM)
    pairs = zip(found.items[0].tolist(), found.log_shares[0].exp().tolist(), strict=True)
    listed = [(item, share) for item, share in pairs if item]
    assert len(dict(listed)) == len(listed)  # each item once
    return float(found.gate), dict(listed)


def test_every_position_points_at_its_own_prefix(pointer) -> None:
    vectors = torch.randn(3, 6, DIM, dtype=torch.float64)
    states = pointer(vectors, ITEM_SEQ, torch.arange(1, 7).unsqueeze(0))
    for row, length in enumerate(LENGTHS.tolist()):
        for end in range(1, length + 1):
            gate, shares = naive(pointer, vectors[row, end - 1], ITEM_SEQ[row, :end].tolist())
            found_gate, found = carried(states[row, end - 1])
            assert found_gate == pytest.approx(gate)
            assert found == pytest.approx(shares)
            assert sum(found.values()) == pytest.approx(1)


def test_whole_sequences_are_their_last_positions(pointer) -> None:
    vectors = torch.randn(3, 6, DIM, dtype=torch.float64)
    everywhere = pointer(vectors, ITEM_SEQ, torch.arange(1, 7).unsqueeze(0))
    row = torch.arange(3)
    last = vectors[row, LENGTHS - 1].unsqueeze(1)
    alone = pointer(last, ITEM_SEQ, LENGTHS.unsqueeze(1)).squeeze(1)
    assert_close(alone, everywhere[row, LENGTHS - 1], rtol=1e-12, atol=1e-12)


def test_single_positions_have_the_gradients_of_all(pointer) -> None:
    vectors, row = torch.randn(3, 6, DIM, dtype=torch.float64), torch.arange(3)
    weights = torch.randn(3, DIM + 1 + 2 * 6, dtype=torch.float64)
    everywhere = pointer(vectors, ITEM_SEQ, torch.arange(1, 7).unsqueeze(0))[row, LENGTHS - 1]
    last = vectors[row, LENGTHS - 1].unsqueeze(1)
    alone = pointer(last, ITEM_SEQ, LENGTHS.unsqueeze(1)).squeeze(1)
    wanted, found = (
        torch.autograd.grad((states * weights).sum(), list(pointer.parameters()))
        for states in (everywhere, alone)
    )
    assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_a_single_position_compares_no_places_with_each_other() -> None:
    pointer, length = Pointer(DIM, max_length=100), 100
    items, ends = torch.randint(1, 20, (8, length)), torch.full((8, 1), length)
    largest = largest_tensor(lambda: pointer(torch.randn(8, 1, DIM), items, ends).sum().backward())
    assert largest <= 8 * (DIM + 1 + 2 * length)


def test_autocast_rounds_nothing(pointer) -> None:
    pointer.float()
    vectors, ends = torch.randn(3, 6, DIM), torch.arange(1, 7).unsqueeze(0)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = pointer(vectors, ITEM_SEQ, ends)
    assert torch.equal(rounded, pointer(vectors, ITEM_SEQ, ends))


def test_no_items_are_nothing_to_point_at(pointer) -> None:
    states = pointer(torch.zeros(1, 1, DIM).double(), torch.zeros(1, 2).long(), torch.tensor([[0]]))
    assert carried(states[0, 0])[1] == {}
    assert states.isfinite().all()


def test_it_weighs_next_to_nothing() -> None:
    made = Pointer(64, max_length=50)
    assert sum(parameter.numel() for parameter in made.parameters()) == 64 + 1 + 50


def test_gradients_reach_gate_and_ages(pointer) -> None:
    vectors = torch.randn(3, 6, DIM, dtype=torch.float64, requires_grad=True)
    ends = torch.arange(1, 7).unsqueeze(0)
    assert torch.autograd.gradcheck(
        lambda v, age, w: torch.func.functional_call(
            pointer, {"age": age, "weight": w}, (v, ITEM_SEQ, ends)
        )[..., : DIM + 1 + 6],
        (vectors, pointer.age, pointer.weight),
    )


@pytest.mark.parametrize("length", [200, 320, 400])
def test_the_oldest_of_many_places_has_its_share_and_its_gradient(length) -> None:
    """Shares are below what float32 can hold there."""
    pointer = Pointer(DIM, max_length=length)
    states = pointer(
        torch.zeros(1, 1, DIM), torch.arange(1, length + 1)[None], torch.tensor([[length]])
    )
    found = unpack_pointers(states[0], DIM)
    exact = pointer.age.detach().double().flip(0).log_softmax(0)
    assert_close(found.log_shares[0].double(), exact, rtol=1e-5, atol=1e-5)
    found.log_shares[0, 0].backward()
    assert pointer.age.grad[-1] == pytest.approx(1)
