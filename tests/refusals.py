"""Commands that are to be refused."""

from __future__ import annotations

from recbole_compress.quick_start.command_line import main


def refusal(capsys, arguments) -> str:
    """The one line on standard error with which a command is refused, and an exit code of 2."""
    capsys.readouterr()  # of what came before
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: "), line
    return line
