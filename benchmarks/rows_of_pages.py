"""Which runs of the comparisons the pages show, and what they call them."""

from __future__ import annotations

from benchmarks.chosen_runs import ChosenRuns

__all__ = ["CHOSEN"]

SIZE = ("bytes", "times smaller")
OF_CPREC = (*SIZE, "NDCG@10 valid", "test", "user by user", "head", "tail")
OF_REPEATS = (*SIZE, "NDCG@10 valid", "test", "user by user", "again", "new")
OF_README = (*SIZE, "NDCG@10 valid", "test")
OF_ODREC = (*SIZE, "its table", "NDCG@10 valid", "test", "user by user", "again", "new")

RECENCY = "the sequence again, then popularity"
RECENCY_NAME = "the session's items again, the latest first: nothing learned"
# Of the two published splits, in the order of what their tables weigh.
SCATTERED = {
    "teacher": "dense: the teacher, one of four settings",
    "semi-tensor-train 4x": "a quarter of the numbers",
    "semi-tensor-train 4x, 4 bits": "a quarter, in 4 bits",
    "semi-tensor-train 4x, 2 bits": "a quarter, in 2 bits",
    "semi-tensor-train 15x": "a 15th",
    "semi-tensor-train 15x, 8 bits": "a 15th, in 8 bits",
    "semi-tensor-train 15x, 4 bits": "a 15th, in 4 bits",
    "semi-tensor-train 30x": "a 30th",
    "semi-tensor-train 60x": "a 60th",
    "low-rank 4x": "rival: low-rank, a quarter",
    "low-rank 4x, 4 bits": "rival: low-rank, a quarter, in 4 bits",
    "width 32": "rival: table and network of width 32 instead of 128",
    "width 32, 4 bits": "rival: width 32, in 4 bits",
    "low-rank 30x": "rival: low-rank, a 30th",
    "width 4": "rival: table of width 4",
    "blockwise 30x": "rival: blocks by popularity, a 30th",
    RECENCY: RECENCY_NAME,
}
AT_ANOTHER_SEED = {
    "teacher": "dense: the teacher",
    "semi-tensor-train 4x": "a quarter of the numbers",
    "semi-tensor-train 4x, 4 bits": "a quarter, in 4 bits",
    "semi-tensor-train 4x, 2 bits": "a quarter, in 2 bits",
    "semi-tensor-train 30x": "a 30th",
    "semi-tensor-train 30x, 8 bits": "a 30th, in 8 bits",
    "semi-tensor-train 30x, 4 bits": "a 30th, in 4 bits",
    "semi-tensor-train 30x, from the teacher": "a 30th that began with the teacher's weights",
    "30x, soft targets at 0.4": "a 30th, soft targets at 0.4",
    "30x, soft targets at 0.4, contrastive": "and the contrastive task",
    "30x, soft targets at 0.4, contrastive, predictive": "and the predictive task",
    "semi-tensor-train 60x": "a 60th",
}
LONG_TAIL = {
    "teacher": "dense: the teacher, the best of six on validation",
    "semi-tensor-train 4x": "a quarter of the numbers",
    "semi-tensor-train 4x, 4 bits": "a quarter, in 4 bits",
    "semi-tensor-train 4x, 2 bits": "a quarter, in 2 bits",
    "semi-tensor-train 15x": "a 15th",
    "15x, soft targets at 0.4": "a 15th, taught",
    "semi-tensor-train 15x, 4 bits": "a 15th, in 4 bits",
    "blockwise 4x": "rival: blocks by popularity, 64, 24 and 12 wide, a quarter",
    "blockwise 4x, 4 bits": "rival: these blocks in 4 bits",
    "blockwise 4x, 3 bits, self-sampled": "rival: these blocks in 3 bits, trained without data",
    "blockwise 4x, 2 bits, self-sampled": "rival: these blocks in 2 bits, trained without data",
    "width 16": "rival: table and network of width 16 instead of 64",
    "width 16, 4 bits": "rival: width 16, in 4 bits",
    "low-rank 4x": "rival: low-rank, a quarter",
    "low-rank 4x, 4 bits": "rival: low-rank, a quarter, in 4 bits",
    "semi-tensor-train 15x, by id": "a 15th in the order of ids: the leak",
    RECENCY: RECENCY_NAME,
}
BY_ID = {
    "teacher": "dense: the teacher",
    "semi-tensor-train 15x": "a 15th of the numbers",
    "semi-tensor-train 30x": "a 30th",
    "30x, soft targets at 0.2": "a 30th, soft targets at 0.2",
    "30x, soft targets at 0.4": "at 0.4",
    "30x, soft targets at 0.8": "at 0.8",
    "30x, contrastive only": "a 30th, the contrastive task",
    "30x, soft targets at 0.4, contrastive": "soft targets at 0.4 and the contrastive task",
    "30x, soft targets at 0.4, contrastive, predictive": "and the predictive task",
    "30x, the paper's weights": "all three at the published weights",
    "semi-tensor-train 60x": "a 60th",
    "60x, distilled": "a 60th, soft targets and contrastive",
    "semi-tensor-train 100x": "a 100th",
    "100x, distilled": "a 100th, soft targets and contrastive",
    "tensor-train 30x": "a plain tensor train, a 30th",
    "published shape": "the published shape",
}
SESSIONS = {
    "untied": "untied: two dense tables",
    "tied": "tied: one dense table, as in RecBole's models",
    "tied, distilled": "tied, taught by itself",
    "tied, distilled, 4 bits": "tied, taught by itself, in 4 bits",
    "tied, width 32": "one table of width 32 instead of 64",
    "tied, width 16": "one table of width 16",
    "tied, width 8": "one table of width 8",
    "cprec": "CpRec as in the paper",
    "cprec, wider tails": "CpRec, tails narrowed by half",
    "cprec, tied tables, even widths": "CpRec, tied tables of even widths",
    "cprec, tied tables, even widths, distilled": "the same, taught by the tied model",
    "cprec, tied tables, even widths, distilled, 4 bits": "taught, in 4 bits",
    "cprec, tied tables, wider tails, distilled": "CpRec, tied, tails narrowed by half, taught",
    "cprec, tied tables, full widths, distilled": "CpRec, tied, all items at full width, taught",
    "cprec, tied tables, full widths, distilled, 4 bits": "the same in 4 bits",
    "product codes": "product codes, 8 bytes per item",
    "product codes, 32 bytes": "product codes, 32 bytes per item",
    RECENCY: RECENCY_NAME,
}
RARE_ITEMS = {
    "untied": "untied: two dense tables",
    "untied, distilled": "untied, taught by itself",
    "untied, distilled, 4 bits": "untied, taught by itself, in 4 bits",
    "untied, distilled, 3 bits, self-sampled": "in 3 bits, trained without data",
    "untied, 4 bits": "untied, in 4 bits",
    "tied": "tied: one dense table",
    "tied, width 32": "one table of width 32 instead of 64",
    "tied, width 16": "one table of width 16",
    "tied, width 8": "one table of width 8",
    "cprec": "CpRec as in the paper",
    "cprec, 4 bits": "CpRec, in 4 bits",
    "cprec, distilled": "CpRec, taught by the untied model",
    "cprec, distilled, 4 bits": "CpRec, taught, in 4 bits",
    "cprec, wider tails": "CpRec, tails narrowed by half",
    "cprec, wider tails, distilled": "CpRec, tails narrowed by half, taught",
    "cprec, wider tails, distilled, 8 bits": "the same in 8 bits",
    "cprec, wider tails, distilled, 4 bits": "the same in 4 bits",
    "cprec, widest tails, distilled": "CpRec, tails of 48 and 32 numbers instead of 64, taught",
    "cprec, widest tails, distilled, 4 bits": "the same in 4 bits",
    "cprec, tied tables, even widths": "CpRec, tied tables of even widths",
    "semi-tensor-train 8x, tied": "a tied semi-tensor-train table, by id",
    "product codes, 32 bytes": "product codes, 32 bytes per item",
}
FEW_ITEMS = {
    "untied": "untied: two dense tables",
    "untied, distilled": "untied, taught by itself",
    "untied, distilled, 4 bits, self-sampled": "untied, taught by itself, 4 bits without data",
    "untied, distilled, 3 bits, self-sampled": "untied, taught by itself, 3 bits without data",
    "tied": "tied: one dense table",
    "tied, width 32": "one table of width 32 instead of 64",
    "tied, width 16": "one table of width 16",
    "cprec": "CpRec as in the paper",
    "cprec, wider tails": "CpRec, tails narrowed by half",
    "cprec, wider tails, distilled": "the same, taught by the untied model",
    "cprec, wider tails, distilled, 8 bits": "taught, in 8 bits",
    "cprec, wider tails, distilled, 4 bits": "taught, in 4 bits",
    "cprec, wider tails, no sharing, distilled": "without layer sharing, taught",
    "cprec, wider tails, no sharing, distilled, 4 bits": "without layer sharing, taught, in 4 bits",
    "cprec, wider tails, no sharing, taught by GRU4Rec": "without layer sharing, by a GRU4Rec",
    "two-level, full widths": "two-level softmax, all items at full width",
    "two-level, full widths, distilled": "the same, taught",
}
OTHER_SEEDS = {
    "untied": "untied: two dense tables",
    "tied": "tied: one dense table",
    "cprec": "CpRec as in the paper",
    "cprec, wider tails": "CpRec, tails narrowed by half",
    "cprec, tied tables, even widths": "CpRec, tied tables of even widths",
    "tied, 4 bits": "tied, in 4 bits",
    "cprec, tied tables, even widths, 4 bits": "CpRec, tied tables of even widths, in 4 bits",
}
VARIANTS = {
    "NextItNet": "NextItNet: two dense tables",
    "Bi": "Bi: blocks on the input side",
    "Bo": "Bo: blocks on the output side",
    "Bio": "Bio: on both",
    "B1": "B1: one low-rank factorisation for all items",
    "CpRec-Cl": "Bio, shared across layers (Cl)",
    "CpRec-Cb": "Bio, shared across blocks (Cb)",
    "CpRec-Al": "Bio, shared by adjacent layers (Al)",
    "CpRec-Ab": "Bio, shared by adjacent blocks (Ab)",
    "GRU4Rec": "GRU4Rec: two dense tables",
    "Bio-GRU4Rec": "Bio on GRU4Rec",
    "RecBole GRU4Rec": "RecBole's GRU4Rec",
    "RecBole Caser": "RecBole's Caser: one table, the newest 5 items",
    "NextItNet, 268 kB": "NextItNet in an eighth of the bytes, without data",
    "GRU4Rec, 268 kB": "GRU4Rec in as many",
    "popularity": "popularity",
}


README_SESSIONS = {
    "untied": "untied: two dense tables",
    "tied": "tied: one dense table, as in RecBole's models",
    "cprec, tied tables, even widths, distilled": "CpRec of even widths, tied tables, taught",
    "tied, width 16": "one table of width 16 instead of 64",
    "cprec, tied tables, full widths, distilled, 4 bits": "CpRec at full width, taught, in 4 bits",
    "tied, distilled, 4 bits": "tied, taught by itself, in 4 bits in seconds",
    "cprec, tied tables, even widths, distilled, 4 bits": "CpRec of even widths, taught, in 4 bits",
    "product codes": "product codes, 8 bytes per item",
}
README_RARE_ITEMS = {
    "untied": "untied",
    "tied": "tied",
    "cprec": "CpRec as in the paper",
    "cprec, distilled": "the same, taught by the untied model",
    "untied, distilled, 3 bits, self-sampled": "untied, taught by itself, in 3 bits without data",
    "cprec, wider tails, distilled, 8 bits": "CpRec, tails narrowed by half, taught, in 8 bits",
    "cprec, widest tails, distilled, 4 bits": "CpRec, tails of 48 and 32, taught, in 4 bits",
    "cprec, wider tails, distilled, 4 bits": "CpRec, tails narrowed by half, taught, in 4 bits",
}
README_REPEATS = {
    "teacher": "the uncompressed model, the best of four settings on validation",
    "semi-tensor-train 4x, 4 bits": "OD-Rec's table, a quarter of the numbers, in 4 bits",
    "semi-tensor-train 4x, 2 bits": "the same in 2 bits",
    "low-rank 4x, 4 bits": "for comparison: a low-rank table of as many numbers, in 4 bits",
    "semi-tensor-train 30x": "OD-Rec's table, a 30th of the numbers",
    "semi-tensor-train 60x": "a 60th of the numbers",
    RECENCY: RECENCY_NAME,
}

# By the name of its place in a page.
# With a pointer; what they are compared with on the page stands in its text.
POINTED_SESSIONS = {
    "tied, pointer": "one dense table",
    "tied, pointer, 4 bits": "the same in 4 bits",
    "tied, width 16, pointer": "one table of width 16 instead of 64",
    "tied, width 16, pointer, 4 bits": "the same in 4 bits",
    "cprec, tied tables, even widths, pointer": "CpRec, tied tables of even widths",
    "cprec, tied tables, even widths, pointer, 4 bits": "the same in 4 bits",
    RECENCY: RECENCY_NAME,
}
POINTED_SMALLER_STILL = {
    "tied, width 8, pointer": "one table of width 8",
    "tied, width 8, pointer, 4 bits": "the same in 4 bits",
    "cprec, tied tables, narrower, pointer": "CpRec, tied tables of 16, 8 and 4",
    "cprec, tied tables, narrower, pointer, 4 bits": "the same in 4 bits",
}
POINTED_TRAINS = {
    "dense, pointer": "a dense table",
    "dense, pointer, 4 bits": "the same in 4 bits",
    "semi-tensor-train 4x, pointer": "a tensor train of a quarter of the numbers",
    "semi-tensor-train 4x, pointer, 4 bits": "the same in 4 bits",
    "semi-tensor-train 30x, pointer": "a 30th",
    "low-rank 4x, pointer": "rival: low-rank, a quarter",
    "low-rank 4x, pointer, 4 bits": "the same in 4 bits",
    "width 32, pointer": "rival: table and network of width 32 instead of 128",
    "width 32, pointer, 4 bits": "the same in 4 bits",
    RECENCY: RECENCY_NAME,
}
POINTED_FEW_ITEMS = {
    "untied, pointer": "two dense tables",
    "untied, pointer, 4 bits": "the same in 4 bits",
    "untied, pointer, 268 kB": "in an eighth of the bytes, without data",
    "untied, for longer, pointer": "two dense tables, trained for longer",
    "untied, width 32, pointer": "two tables of width 32, trained for longer",
    "untied, width 32, pointer, 8 bits": "the same in 8 bits",
    "cprec, wider tails, pointer": "CpRec, tails narrowed by half",
    "cprec, wider tails, pointer, 8 bits": "the same in 8 bits",
    "cprec, wider tails, distilled, pointer": "taught by the two dense tables",
    "cprec, wider tails, distilled, pointer, 8 bits": "taught, in 8 bits",
    "cprec, wider tails, distilled, pointer, 4 bits": "taught, in 4 bits",
    "cprec, widest tails, no sharing, distilled, pointer": (
        "CpRec, tails of 48 and 32 numbers instead of 64, no shared layers, taught"
    ),
    "cprec, widest tails, no sharing, distilled, pointer, 4 bits": "the same in 4 bits",
    "cprec, widest tails, no sharing, distilled, pointer, 268 kB": (
        "in an eighth of the bytes, without data"
    ),
    "cprec, widest tails, no sharing, distilled for longer, pointer": "taught for longer",
    "cprec, widest tails, no sharing, distilled for longer, pointer, 268 kB": (
        "in an eighth of the bytes, without data"
    ),
}

CHOSEN: dict[str, ChosenRuns] = {
    "odrec_tmall": ChosenRuns("odrec", "tmall", OF_ODREC, SCATTERED),
    "odrec_retailrocket": ChosenRuns("odrec", "retailrocket", OF_ODREC, SCATTERED),
    "odrec_long_tail": ChosenRuns(
        "odrec-amazon-beauty",
        "amazon-beauty",
        (*OF_ODREC[:-2], "head", "tail", "unseen"),
        LONG_TAIL,
    ),
    "odrec_by_id_tmall": ChosenRuns("odrec-by-id", "tmall", OF_ODREC, BY_ID),
    "odrec_by_id_retailrocket": ChosenRuns("odrec-by-id", "retailrocket", OF_ODREC, BY_ID),
    **{
        f"odrec_{seed}_{name}": ChosenRuns(
            f"odrec-{seed.replace('_', '-')}", name, OF_ODREC, AT_ANOTHER_SEED
        )
        for seed in ("other_seeds", "third_seed")
        for name in ("tmall", "retailrocket")
    },
    "cprec_retailrocket": ChosenRuns(
        "retailrocket", "retailrocket", (*OF_CPREC, "again", "new"), SESSIONS
    ),
    "cprec_amazon_beauty": ChosenRuns(
        "amazon-beauty", "amazon-beauty", (*OF_CPREC, "seeds"), RARE_ITEMS
    ),
    "readme_retailrocket": ChosenRuns(
        "retailrocket",
        "retailrocket",
        OF_README,
        README_SESSIONS,
        "retailrocket (36,968 items)",
    ),
    "readme_repeats": ChosenRuns(
        "repeats-retailrocket",
        "retailrocket",
        (*OF_README, "seeds"),
        POINTED_SESSIONS,
        "retailrocket, `--repeats=pointer`",
    ),
    "readme_amazon_beauty": ChosenRuns(
        "amazon-beauty",
        "amazon-beauty",
        (*OF_README, "seeds"),
        README_RARE_ITEMS,
        "amazon-beauty (54,542 items)",
    ),
    "readme_tmall": ChosenRuns(
        "odrec", "tmall", OF_README, README_REPEATS, "tmall (40,727 items), SASRec of width 128"
    ),
    "repeats_retailrocket": ChosenRuns(
        "repeats-retailrocket",
        "retailrocket",
        (*OF_REPEATS, "seeds"),
        {**POINTED_SESSIONS, **POINTED_SMALLER_STILL},
    ),
    "repeats_tmall": ChosenRuns("repeats-odrec", "tmall", OF_REPEATS, POINTED_TRAINS),
    "repeats_ml_1m": ChosenRuns("repeats-ml-1m", "ml-1m", (*OF_CPREC, "seeds"), POINTED_FEW_ITEMS),
    "cprec_ml_1m": ChosenRuns("ml-1m", "ml-1m", OF_CPREC, FEW_ITEMS),
    "cprec_other_seeds_retailrocket": ChosenRuns(
        "retailrocket-other-seeds", "retailrocket", (*OF_CPREC, "seeds"), OTHER_SEEDS
    ),
    "cprec_other_seeds_ml_1m": ChosenRuns(
        "ml-1m-other-seeds", "ml-1m", (*OF_CPREC, "seeds"), OTHER_SEEDS
    ),
    "cprec_variants": ChosenRuns("ml-1m-variants", "ml-1m", OF_CPREC, VARIANTS),
}
