"""The command line: ``recbole-compress [run] --model=NAME --dataset=NAME [--key=value ...]``, and
its further commands."""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recbole_compress._version import __version__
from recbole_compress.errors import RecBoleCompressError, needs_extra
from recbole_compress.near_names import did_you_mean
from recbole_compress.quick_start.warnings_of_recbole import ignore_warnings_of_recbole

__all__ = ["COMMANDS", "Command", "main"]

USAGE = f"""recbole-compress {__version__}: compressed sequential recommendation for RecBole

  recbole-compress [run] --model=CpRecNextItNet --dataset=ml-100k
                         [--config_files="a.yaml b.yaml"] [--key=value ...]
                         [--nproc=2] [--recipe=distillation [--teacher_path=FILE.pth]]
  recbole-compress [run] --model=NAME --dataset=TARGET --recipe=transfer
                         --source_dataset=SOURCE | --pretrained=FILE.pth
  recbole-compress [run] --resume=saved/NAME.pth
  recbole-compress tune --model=NAME --dataset=NAME [--params_file=FILE.hyper]
                        [--algo=bayes|random|exhaustive] [--max_evals=30] [--early_stop=N]
                        [--output_file=FILE.result] [--tool=Hyperopt|Ray] [--key=value ...]
                        with Ray: [--scheduler=fifo|asha] [--cpus_per_trial=1] [--gpus_per_trial=0]
  recbole-compress quantize CHECKPOINT [--weight-bits=8] [--table-bits=8] [--activation-bits=32]
                            [--recipe=self_sample|ptq|adversarial|noise|qat] [-o OUT.pth]
                            [--max-bytes=800kB] [--granularity=row|tensor|group]
                            [--group-size=N] [--symmetric=True] [--scale-dtype=float32|float16]
                            [--range-finder=mse] [--activation-range=dynamic|static]
                            [--keep=PATTERNS] [--overrides=SETTINGS_BY_PATTERN] [--key=value ...]
  recbole-compress export CHECKPOINT -o model.onnx [--table-bits=16|8..2] [--weight-bits=8..2]
                          [--max-bytes=800kB] [--k=10] [--exclude-history] [--all-scores]
                          [--tokens=False] [--data_path=FOLDER]
  recbole-compress recommend model.onnx --items="TOKEN TOKEN" [--k=10] [--exclude-history]
                             [--candidates="TOKEN TOKEN"] [--user=TOKEN] [--threads=1]
  recbole-compress demo model.onnx -o site/ [--items=FILE.item] [--runtime=FOLDER] [--title=TEXT]
  recbole-compress evaluate FILE [--data_path=FOLDER] [-o CARD.json] [--key=value ...]
  recbole-compress synthetic CHECKPOINT [--data_path=FOLDER] [--key=value ...]
  recbole-compress compare --models=CpRecNextItNet,SASRec,Pop --datasets=ml-100k
                           [--seeds=2020,2021] [--config_files="a.yaml b.yaml"]
                           [--key=value ... for all runs]
  recbole-compress compare EXPERIMENT.yaml [--only=ENTRY,ENTRY] [--datasets=...] [--seeds=...]
      both: [--reference=ENTRY] [--output=FOLDER] [--jobs=N] [--latency] [--table]
  recbole-compress split-domains NAME.inter [--by=popularity|id] [--share=0.5] [--output=dataset]
      [--min_source=1] [--min_target=1] [--user=user_id] [--item=item_id] [--time=timestamp]
  recbole-compress pair-domains SOURCE.inter TARGET.inter [--output=FOLDER]
      [--min_source=1] [--min_target=1] [--user=user_id] [--item=item_id] [--time=timestamp]

Models: those of this package and RecBole's sequential ones; DFQ<Model> is <Model>, trained and
then quantized without data. quantize needs no data set, evaluate the one of the training.
A class of your own is --model=MODULE:CLASS; where a checkpoint names it, every command takes
--model_classes=MODULE:CLASS.
Keys: RecBole's own and those of properties/model/<Model>.yaml; an unknown key stops the run and
names the nearest known one. What all of them mean, and their defaults: properties/overall.yaml and
properties/model/<Model>.yaml of the package.
compare runs what is missing, tests every row against the reference and writes tables to FOLDER
(default runs/compare/<experiment>); --table only writes the tables, from what is there."""


@dataclass(frozen=True)
class Command:
    """A word after ``recbole-compress``, and the function that carries it out.

    Attributes:
        module: Where the function is; imported when the command is given, and not before: the
            training stack takes its time, and some commands do without torch.
        function: Its name; is given the arguments, and may return an exit code.
        about: One line, for the help.
        extra: What ``pip`` has to install beyond the package itself.
        ignores_warnings: Whether RecBole's warnings are kept from the user.
        goes_on_from_a_checkpoint: Whether, interrupted, it is given one; others find what is there.
    """

    module: str
    function: str
    about: str
    extra: str | None = None
    ignores_warnings: bool = False
    goes_on_from_a_checkpoint: bool = False

    def __call__(self, arguments: list[str]) -> int:
        with needs_extra(self.extra) if self.extra else contextlib.nullcontext():
            function = getattr(importlib.import_module(self.module), self.function)
        if self.ignores_warnings:
            ignore_warnings_of_recbole()
        code = function(arguments)
        return code if isinstance(code, int) else 0  # some return what they did, for Python


COMMANDS: Mapping[str, Command] = {
    "run": Command(
        "recbole_compress.quick_start.quick_start",
        "run",
        "Train, evaluate and report one model.",
        ignores_warnings=True,
        goes_on_from_a_checkpoint=True,
    ),
    "tune": Command(
        "recbole_compress.quick_start.tune",
        "tune",
        "Search for the settings with the best validation score.",
    ),
    "quantize": Command(
        "recbole_compress.quick_start.quantize",
        "quantize",
        "Make a file of packed integers from a checkpoint, without its data set.",
        ignores_warnings=True,
        goes_on_from_a_checkpoint=True,
    ),
    "export": Command(
        "recbole_compress.quick_start.export",
        "export",
        "Write a trained model into one file that runs without RecBole and torch.",
        ignores_warnings=True,
    ),
    "recommend": Command(
        "recbole_compress.artifact.command", "recommend", "Ask an exported file.", "runtime"
    ),
    "demo": Command(
        "recbole_compress.demo.site",
        "demo",
        "Write a static page that recommends in the browser.",
        "export",
    ),
    "evaluate": Command(
        "recbole_compress.quick_start.evaluate",
        "evaluate",
        "Evaluate a finished model on its data set and write a card.",
        ignores_warnings=True,
    ),
    "synthetic": Command(
        "recbole_compress.quick_start.synthetic",
        "synthetic",
        "Compare a model's made-up sequences with its real training data.",
        ignores_warnings=True,
    ),
    "compare": Command(
        "recbole_compress.quick_start.compare",
        "compare",
        "Run an experiment and write its tables; 1 if a run failed.",
        ignores_warnings=True,
    ),
    "split-domains": Command(
        "recbole_compress.quick_start.domains",
        "split_domains",
        "Make a source and a target data set out of one.",
    ),
    "pair-domains": Command(
        "recbole_compress.quick_start.domains",
        "pair_domains",
        "Look at the users that two data sets share, or cut both to them.",
    ),
}


def _usage_of(command: str) -> str:
    """The paragraphs of the usage that begin with this command, what is said of all below them."""
    first, *paragraphs = re.split(r"\n(?=\n|  recbole-compress )", USAGE)
    names = (f"  recbole-compress {command} ", f"  recbole-compress [{command}] ")
    return "\n".join(
        [
            f"{first.splitlines()[0]}\n\n{command}: {COMMANDS[command].about}\n",
            *(paragraph for paragraph in paragraphs if paragraph.startswith(names)),
        ]
    )


def _purposes() -> str:
    """What every command is for, a line each."""
    width = max(map(len, COMMANDS))
    lines = (f"  {name:{width}}  {command.about}" for name, command in COMMANDS.items())
    return "\n".join(["Commands (COMMAND --help for its options):", *lines])


def _speaks_for_all() -> bool:
    """Whether this process is the one that prints; without torch it is alone."""
    try:
        from recbole_compress.distributed.group import speaks_for_all
    except ModuleNotFoundError:
        return True
    return speaks_for_all()


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the console script and of ``run_recbole_compress.py``.

    Returns:
        0, or 2 after an error that the user can mend (one line on standard error), or 1 after a
        comparison in which a run failed, or 130 after an interruption.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE, _purposes(), sep="\n\n")
        return 0
    if arguments == ["--version"]:
        print(__version__)
        return 0
    command = "run" if arguments[0].startswith("-") else arguments.pop(0)
    if command in COMMANDS and {"-h", "--help"} & set(arguments):
        print(_usage_of(command))
        return 0
    try:
        if command not in COMMANDS:
            raise RecBoleCompressError(f"command {command!r}: {did_you_mean(command, COMMANDS)}")
        return COMMANDS[command](arguments)
    except RecBoleCompressError as error:
        if _speaks_for_all():
            print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.filename is None:  # no file or folder that somebody named
            raise
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interruption:
        if _speaks_for_all():
            how = "the same command"
            if COMMANDS[command].goes_on_from_a_checkpoint and str(interruption):
                how += f" and {interruption}"  # the training that was interrupted says which
            print(f"interrupted; go on with {how}", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
