"""Space files: ours fit their models, RecBole's mean the same, and bad ones are named by line."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from recbole_compress.config import Config
from recbole_compress.config.model_names import REGISTERED, find_model
from recbole_compress.config.properties_folder import hyper_file, properties_folder
from recbole_compress.config.schema import load_schema
from recbole_compress.errors import ConfigError
from recbole_compress.models.popularity import Pop
from recbole_compress.tuning.space import Choice, LogUniform, QUniform, Space, Uniform, read_space

OURS = sorted((properties_folder() / "hyper").iterdir())


def checked(space: Space, model: str = "CpRecNextItNet") -> Space:
    return space.check(load_schema(model, "ml-100k", find_model(model)), model)


def read(tmp_path, *lines: str) -> Space:
    path = tmp_path / "a.hyper"
    path.write_text("\n".join(lines) + "\n")
    return read_space(path)


def test_each_of_our_models_has_a_space():
    learning = {name for name, model in REGISTERED.items() if not issubclass(model, Pop)}
    assert {path.stem for path in OURS} == learning
    assert hyper_file("SASRec") is None


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_every_key_and_value_of_ours_is_accepted(path):
    space = checked(read_space(path), path.stem)
    assert space.size() > 1  # every algo can search it
    for dimension in space:
        defaults = Config(path.stem, "ml-100k")
        assert len(dimension.probes()) > 1
        for value in dimension.probes():
            config = Config(path.stem, "ml-100k", config_dict={dimension.key: value})
            assert config[dimension.key] == value
        assert dimension.key in defaults.internal_config_dict


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_recbole_reads_the_same_keys_from_ours(path, tmp_path):
    """It knows no comments; without them the format is its own."""
    pytest.importorskip("hyperopt")
    from hyperopt.pyll.stochastic import sample
    from recbole.trainer import HyperTuning

    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    (tmp_path / "bare.hyper").write_text("\n".join(lines))
    theirs = HyperTuning._build_space_from_file(str(tmp_path / "bare.hyper"))
    ours = {dimension.key: dimension.probes() for dimension in read_space(path)}
    assert set(theirs) == set(ours)
    drawn = sample(theirs, np.random.RandomState(0))
    assert all(drawn[key] in ours[key] for key in ours)


def test_each_kind(tmp_path):
    space = read(
        tmp_path,
        "# a comment",
        "learning_rate   loguniform -9, -4  # exponents",
        "dilations choice ['[1,2]', [1, 4], [1, 4]]",
        "layer_sharing choice [none, cross_block]",
        "",
        "embedding_size quniform 16,48,16",
        "embedding_dropout_prob\tquniform 0.1,0.4,0.1",
        "hidden_dropout_prob uniform 0,0.5",
    )
    rate, dilations, sharing, size, quantized, dropout = checked(space)
    assert isinstance(rate, LogUniform)
    assert rate.probes() == [math.exp(-9), math.exp(-4)]
    assert isinstance(dilations, Choice)
    assert dilations.grid() == [[1, 2], [1, 4]]
    assert sharing.grid() == ["none", "cross_block"]
    assert isinstance(size, QUniform)
    assert [(value, type(value)) for value in size.grid()] == [(16, int), (32, int), (48, int)]
    assert quantized.grid() == [0.1, 0.2, 0.3, 0.4]
    assert isinstance(dropout, Uniform)


def test_draws_lie_in_the_space_and_repeat(tmp_path):
    space = checked(
        read(
            tmp_path,
            "learning_rate loguniform -9,-4",
            "embedding_size quniform 16,48,16",
            "hidden_dropout_prob uniform 0.1,0.5",
            "item_head choice [tied,untied]",
        )
    )
    rng = np.random.RandomState(3)
    drawn = [space.draw(rng) for _ in range(200)]
    rates = [point["learning_rate"] for point in drawn]
    assert math.exp(-9) <= min(rates) and max(rates) <= math.exp(-4)
    # uniform in the exponent: half of them lie below the middle one
    assert 70 < sum(rate < math.exp(-6.5) for rate in rates) < 130
    assert {point["embedding_size"] for point in drawn} == {16, 32, 48}
    assert {point["item_head"] for point in drawn} == {"tied", "untied"}
    assert all(0.1 <= point["hidden_dropout_prob"] <= 0.5 for point in drawn)
    rng = np.random.RandomState(3)
    assert [space.draw(rng) for _ in range(200)] == drawn


def test_points_are_the_product_and_the_order_is_a_permutation(tmp_path):
    space = read(tmp_path, "a choice [1,2,3]", "b choice [x,y]", "c quniform 0,1,0.5")
    points = [space.point(number) for number in range(space.size())]
    expected = [dict(zip("abc", p, strict=True)) for p in product([1, 2, 3], "xy", [0, 0.5, 1])]
    assert points == expected
    assert sorted(space.order(1)) == list(range(18))
    assert space.order(1) == space.order(1) != space.order(2)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("learning_rate choice", r"line 2: 'learning_rate choice': expected KEY KIND VALUES"),
        (
            "learning_rate chioce [1]",
            r"line 2: learning_rate: kind 'chioce': did you mean 'choice'",
        ),
        ("learning_rate choice 5", r"line 2: learning_rate: choice 5: expected a list"),
        ("learning_rate choice []", r"line 2: .* expected a list"),
        ("learning_rate choice __import__('os')", r"line 2: .* expected a list"),
        ("learning_rate uniform 1", r"line 2: .* expected uniform LOW,HIGH, all numbers"),
        ("learning_rate uniform 0,x", r"line 2: .* all numbers"),
        ("learning_rate uniform 0,inf", r"line 2: .* all numbers"),
        ("learning_rate uniform 2,1", r"line 2: .* LOW below HIGH"),
        ("learning_rate loguniform 0.001,1000", r"line 2: .* exponents of e"),
        ("embedding_size quniform 8,64", r"line 2: .* LOW,HIGH,STEP"),
        ("embedding_size quniform 10,64,16", r"line 2: .* multiples of STEP"),
        ("learning_rate quniform 0,1,1e-320", r"line 2: .* multiples of STEP"),
        ("embedding_size quniform 0.5,2,0.5", r"embedding_size=0.5 \(.*line 2\): expected int"),
        ("embedding_size uniform 8,64", r"embedding_size=8.0 \(.*line 2\): expected int"),
        ("lerning_rate choice [1]", r"lerning_rate \(.*line 2\): unknown key.*'learning_rate'"),
        ("item_head choice [tied,tide]", r"item_head='tide' \(.*line 2\): did you mean 'tied'"),
        ("epochs choice [1]", r"line 2: epochs: has a line already"),
        ("model choice [SASRec]", r"line 2: model: belongs on the command line"),
        ("valid_metric choice [NDCG@5]", r"line 2: valid_metric: belongs on the command line"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    with pytest.raises(ConfigError, match=message) as caught:
        checked(read(tmp_path, "epochs choice [1,2]", line))
    assert "\n" not in str(caught.value)
    assert "a.hyper" in str(caught.value)


def test_bad_files(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        read_space(tmp_path / "none.hyper")
    with pytest.raises(ConfigError, match="no line such as"):
        read(tmp_path, "# nothing")
    (tmp_path / "b.hyper").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_space(tmp_path / "b.hyper")


def test_exhaustive_needs_an_end(tmp_path):
    with pytest.raises(ConfigError, match="line 1: learning_rate: .*--algo=random"):
        read(tmp_path, "learning_rate uniform 0,1").order(0)
    with pytest.raises(ConfigError, match="take --algo=random"):
        read(tmp_path, "a quniform 0,2000,1", "b quniform 0,2000,1").order(0)


def test_of_a_fine_grid_a_few_values_are_checked_and_none_is_listed(tmp_path):
    space = checked(read(tmp_path, "train_batch_size quniform 1,1000000000,1"))
    (dimension,) = space
    probes = dimension.probes()
    assert len(set(probes)) == len(probes) == 100
    assert (probes[0], probes[-1]) == (1, 1_000_000_000)
    assert 1 <= space.draw(np.random.RandomState(0))["train_batch_size"] <= 1_000_000_000
    with pytest.raises(ConfigError, match=r"line 1: .* 1,000,000,000 values .*--algo=random"):
        space.order(0)
