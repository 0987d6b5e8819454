"""``recbole-compress synthetic CHECKPOINT``: are made-up sequences like the real ones?

Opens the data set, to compare; quantization itself never does.
"""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from recbole.utils import init_seed
from scipy.stats import spearmanr
from torch import Tensor
from tqdm import tqdm

from recbole_compress.arguments import naming_options, read_file_arguments
from recbole_compress.data.item_counts import train_item_counts
from recbole_compress.data.loaders import split_of
from recbole_compress.datafree import (
    NextItemModel,
    Sequences,
    epsilon_greedy,
    gumbel_top_k,
    noise_sequences,
    sample_sequences,
)
from recbole_compress.errors import ConfigError
from recbole_compress.files import replacing
from recbole_compress.quick_start.from_checkpoint import model_of, rebuilt_config
from recbole_compress.quick_start.prepared_data import prepare_data
from recbole_compress.quick_start.pretraining import load_data
from recbole_compress.quick_start.quantize import quantize_checkpoint
from recbole_compress.readers import as_reader
from recbole_compress.trainers.checkpoint import load_checkpoint
from recbole_compress.trainers.datafree_settings import DataFreeSettings
from recbole_compress.trainers.quantization_recipes import QUANTIZATION_RECIPES

__all__ = ["compare_with_real_data", "synthetic"]

# Items whose part in all occurrences is told, as a share of the catalogue: the most popular ones.
_HEAD = 0.1

# Makes so many sequences, and tells how many each finished batch had.
_Way = Callable[[int, Callable[[int], object]], Sequences]


def synthetic(arguments: list[str]) -> None:
    """The command: ``CHECKPOINT [--data_path=FOLDER] [--key=value ...]``."""
    usage = "recbole-compress synthetic CHECKPOINT [--data_path=FOLDER]"
    path, out, settings = read_file_arguments(arguments, usage)
    if out is not None:
        raise ConfigError(f"-o {out}: files are written beside {path}; leave it out")
    with naming_options(settings):
        found = compare_with_real_data(path, partial(print, flush=True), **settings)
    stem = os.path.splitext(path)[0] + ".synthetic"
    with replacing(f"{stem}.json") as file:
        file.write(json.dumps(found, indent=1) + "\n")
    written = [f"{stem}.json"]
    try:
        from recbole_compress.quick_start.synthetic_plot import draw

        draw(found, f"{stem}.png")
        written.append(f"{stem}.png")
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        print("no plot without matplotlib: pip install 'recbole-compress[plot]'")
    print("written: " + ", ".join(written))


def compare_with_real_data(
    path: str,
    say: Callable[[str], object] | None = None,
    generators: Mapping[str, NextItemModel] | None = None,
    /,
    **settings: Any,
) -> dict[str, Any]:
    """Item frequencies of sequences made in several ways, beside the train split's.

    Every way begins with the same seed, so that those that differ in their model alone are made of
    the same random numbers.

    Args:
        path: Checkpoint of a full-precision model.
        say: Is given a line for whatever begins or is known, for who waits.
        generators: More models that pick items as the game's generator does, by name, such as
            ``quantize_checkpoint(...).generator``; None for the one of a game that is played here,
            where ``quantization_recipe`` has one.
        settings: Config keys that differ from the run it comes from.

    Returns:
        ``sources``: for each way its name, the Spearman rank correlation of its item frequencies
        with the train split's, ``coverage``, the share of the catalogue that occurs, ``head``, the
        part that the tenth of the items has that is most popular in the train split, ``overlap``,
        what both distributions over the items have in common, and the frequencies by item id;
        ``real`` and ``real_head``: those of the train split.

    Raises:
        RecBoleCompressError: The checkpoint or its data set cannot be read.
    """
    state = load_checkpoint(path)
    config = rebuilt_config(state, path, **settings)
    chosen = DataFreeSettings.of(config)
    say = say or (lambda line: None)
    say(f"{config['model']} on {config['dataset']}: reading the data set")
    split = split_of(prepare_data(config, load_data(config))[0])
    model = model_of(config, split, state, path).to(config["device"]).eval()
    real = train_item_counts(split)[1:]
    head = real.argsort(descending=True, stable=True)[: math.ceil(_HEAD * len(real))]
    if generators is None:
        generators = {}
        recipe = QUANTIZATION_RECIPES.get(config["quantization_recipe"])
        if recipe is not None and recipe.has_generator:
            say(f"the game at {config['table_bits']} bits, for its generator")
            generators = {"game": _generator_of(path, settings)}
    sources = []
    ways = _ways(as_reader(model), generators, chosen)
    say(f"{chosen.n_sequences:,} sequences in each of {len(ways)} ways: {', '.join(ways)}")
    # A bar is for eyes, as in training.
    shown = bool(config["show_progress"]) and sys.stderr.isatty()
    for name, make in ways.items():
        init_seed(config["seed"], config["reproducibility"])
        with tqdm(desc=name, total=chosen.n_sequences, ncols=100, disable=not shown) as bar:
            sequences = make(chosen.n_sequences, bar.update)
        items = sequences.item_seq[sequences.item_seq > 0]
        counts = torch.bincount(items, minlength=len(real) + 1)[1:]
        correlation = spearmanr(counts.numpy(), real.numpy()).statistic
        sources.append(
            {
                "name": name,
                "spearman": float(np.nan_to_num(correlation)),
                "coverage": float((counts > 0).float().mean()),
                "head": float(_shares(counts)[head].sum()),
                "overlap": float(torch.minimum(_shares(counts), _shares(real)).sum()),
                "counts": counts.tolist(),
            }
        )
        say(
            f"{name}: rank correlation with the true popularity {sources[-1]['spearman']:.3f}, "
            f"{sources[-1]['coverage']:.0%} of the items, {sources[-1]['overlap']:.0%} in common"
        )
    return {
        "model": config["model"],
        "dataset": config["dataset"],
        "sequences": chosen.n_sequences,
        "real": real.tolist(),
        "real_head": float(_shares(real)[head].sum()),
        "sources": sources,
    }


def _shares(counts: Tensor) -> Tensor:
    return counts.double() / counts.sum().clamp(min=1)


def _generator_of(path: str, settings: dict[str, Any]) -> NextItemModel:
    """Plays the game; what it quantizes is of no use here."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "quantized.pth")
        done = quantize_checkpoint(path, out, **{**settings, "checkpoint_dir": folder})
    assert done.generator is not None  # of this recipe
    return done.generator


def _ways(
    reader: NextItemModel, generators: Mapping[str, NextItemModel], chosen: DataFreeSettings
) -> dict[str, _Way]:
    def picked(pick: Callable[[Tensor], Tensor], by: NextItemModel = reader) -> _Way:
        return lambda n, after_batch: sample_sequences(
            by, n, chosen.picked_sampling, draw=pick, after_batch=after_batch
        )

    def noise(n: int, after_batch: Callable[[int], object]) -> Sequences:
        made = noise_sequences(reader.n_items, reader.max_length, n, chosen.sampling)
        after_batch(n)
        return made

    game = chosen.game
    return {
        "sampled": lambda n, after_batch: sample_sequences(
            reader, n, chosen.sampling, after_batch=after_batch
        ),
        "gumbel": picked(lambda scores: gumbel_top_k(scores, game.gumbel_items)),
        "epsilon_greedy": picked(lambda scores: epsilon_greedy(scores, game.epsilon)),
        "noise": noise,
        **{name: picked(game.pick, by) for name, by in generators.items()},
    }
