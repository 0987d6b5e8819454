"""The command line: ``recbole-compress [run] --model=NAME --dataset=NAME [--key=value ...]``, and
its further commands."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence

from recbole_compress._version import __version__
from recbole_compress.errors import RecBoleCompressError
from recbole_compress.near_names import did_you_mean

__all__ = ["COMMANDS", "main"]

USAGE = f"""recbole-compress {__version__}: compressed sequential recommendation for RecBole

  recbole-compress [run] --model=CpRecNextItNet --dataset=ml-100k
                         [--config_files="a.yaml b.yaml"] [--key=value ...]
                         [--nproc=2] [--recipe=distillation [--teacher_path=FILE.pth]]
  recbole-compress [run] --model=NAME --dataset=TARGET --recipe=transfer
                         --source_dataset=SOURCE | --pretrained=FILE.pth
  recbole-compress [run] --resume=saved/NAME.pth
  recbole-compress tune --model=NAME --dataset=NAME [--params_file=FILE.hyper]
                        [--algo=bayes|random|exhaustive] [--max_evals=30] [--early_stop=10]
                        [--output_file=FILE.result] [--tool=Hyperopt|Ray] [--key=value ...]
  recbole-compress quantize CHECKPOINT [--weight-bits=4] [--table-bits=4] [--activation-bits=8]
                            [--recipe=self_sample|ptq|adversarial|noise|qat]
                            [-o OUT.pth] [--key=value ...]
  recbole-compress export CHECKPOINT -o model.onnx [--table-bits=16|8|4|2] [--weight-bits=8|4|2]
                          [--k=10] [--exclude-history] [--all-scores] [--tokens=False]
                          [--data_path=FOLDER]
  recbole-compress recommend model.onnx --items="TOKEN TOKEN" [--k=10] [--exclude-history]
                             [--candidates="TOKEN TOKEN"]
  recbole-compress demo model.onnx -o site/ [--items=FILE.item] [--runtime=FOLDER]
  recbole-compress evaluate FILE [--data_path=FOLDER] [-o CARD.json] [--key=value ...]
  recbole-compress synthetic CHECKPOINT [--data_path=FOLDER] [--key=value ...]
  recbole-compress compare --models=CpRecNextItNet,SASRec,Pop --datasets=ml-100k
                           [--seeds=2020,2021] [--key=value ... for all runs]
  recbole-compress compare EXPERIMENT.yaml [--only=ENTRY,ENTRY] [--datasets=...] [--seeds=...]
      both: [--reference=ENTRY] [--output=FOLDER] [--jobs=N] [--latency] [--table]
  recbole-compress split-domains NAME.inter [--by=popularity|id] [--share=0.5] [--output=dataset]
      [--min_source=1] [--min_target=1] [--user=user_id] [--item=item_id] [--time=timestamp]
  recbole-compress pair-domains SOURCE.inter TARGET.inter [--output=FOLDER]
      [--min_source=1] [--min_target=1] [--user=user_id] [--item=item_id] [--time=timestamp]

Models: those of this package and RecBole's sequential ones; DFQ<Model> is <Model>, trained and
then quantized without data. quantize needs no data set, evaluate the one of the training.
Keys: RecBole's own and those of properties/model/<Model>.yaml; an unknown key stops the run and
names the nearest known one.
compare runs what is missing, tests every row against the reference and writes tables to FOLDER
(default runs/compare/<experiment>); --table only writes the tables, from what is there."""


def run(arguments: list[str]) -> None:
    """Train, evaluate and report one model."""
    from recbole_compress.quick_start.quick_start import (
        ignore_warnings_of_recbole,
        run_recbole_compress,
    )

    ignore_warnings_of_recbole()
    run_recbole_compress(command_line=arguments)


def tune(arguments: list[str]) -> None:
    """Search for the settings with the best validation score."""
    from recbole_compress.quick_start.tune import tune

    tune(arguments)


def synthetic(arguments: list[str]) -> None:
    """Compare a model's made-up sequences with its real training data."""
    from recbole_compress.quick_start.quick_start import ignore_warnings_of_recbole
    from recbole_compress.quick_start.synthetic import synthetic

    ignore_warnings_of_recbole()
    synthetic(arguments)


def compare(arguments: list[str]) -> int:
    """Run an experiment and write its tables; 1 if a run failed."""
    from recbole_compress.quick_start.compare import compare
    from recbole_compress.quick_start.quick_start import ignore_warnings_of_recbole

    ignore_warnings_of_recbole()
    return compare(arguments)


def split_domains(arguments: list[str]) -> None:
    """Make a source and a target data set out of one."""
    from recbole_compress.quick_start.domains import split_domains

    split_domains(arguments)


def pair_domains(arguments: list[str]) -> None:
    """Look at the users that two data sets share, or cut both to them."""
    from recbole_compress.quick_start.domains import pair_domains

    pair_domains(arguments)


def quantize(arguments: list[str]) -> None:
    """Make a file of packed integers from a checkpoint, without its data set."""
    from recbole_compress.quick_start.quantize import quantize
    from recbole_compress.quick_start.quick_start import ignore_warnings_of_recbole

    ignore_warnings_of_recbole()
    quantize(arguments)


def evaluate(arguments: list[str]) -> None:
    """Evaluate a finished model on its data set and write a card."""
    from recbole_compress.quick_start.evaluate import evaluate
    from recbole_compress.quick_start.quick_start import ignore_warnings_of_recbole

    ignore_warnings_of_recbole()
    evaluate(arguments)


def export(arguments: list[str]) -> None:
    """Write a trained model into one file that runs without RecBole and torch."""
    from recbole_compress.quick_start.export import export
    from recbole_compress.quick_start.quick_start import ignore_warnings_of_recbole

    ignore_warnings_of_recbole()
    export(arguments)


def recommend(arguments: list[str]) -> None:
    """Ask an exported file."""
    try:
        from recbole_compress.artifact.command import recommend
    except ModuleNotFoundError as error:
        raise RecBoleCompressError(
            f"{error.name} is missing: pip install 'recbole-compress[runtime]'"
        ) from error
    recommend(arguments)


def demo(arguments: list[str]) -> None:
    """Write a static page that recommends in the browser."""
    try:
        from recbole_compress.demo.site import demo
    except ModuleNotFoundError as error:
        raise RecBoleCompressError(
            f"{error.name} is missing: pip install 'recbole-compress[export]'"
        ) from error
    demo(arguments)


COMMANDS: dict[str, Callable[[list[str]], int | None]] = {
    "synthetic": synthetic,
    "run": run,
    "compare": compare,
    "pair-domains": pair_domains,
    "split-domains": split_domains,
    "export": export,
    "recommend": recommend,
    "demo": demo,
    "tune": tune,
    "quantize": quantize,
    "evaluate": evaluate,
}


def _usage_of(command: str) -> str:
    """The paragraphs of the usage that begin with this command, what is said of all below them."""
    first, *paragraphs = re.split(r"\n(?=\n|  recbole-compress )", USAGE)
    names = (f"  recbole-compress {command} ", f"  recbole-compress [{command}] ")
    what = (COMMANDS[command].__doc__ or "").strip()
    return "\n".join(
        [
            f"{first.splitlines()[0]}\n\n{command}: {what}\n",
            *(paragraph for paragraph in paragraphs if paragraph.startswith(names)),
        ]
    )


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
        print(USAGE)
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
        return COMMANDS[command](arguments) or 0
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
            how = {"run": "--resume=<the checkpoint named above>"}.get(command, "the same command")
            if interruption.args:  # of a phase that knows better
                how = f"the same command and {interruption}"
            print(f"interrupted; go on with {how}", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
