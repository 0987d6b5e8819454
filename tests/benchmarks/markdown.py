"""Reading what the pages of results say."""

from __future__ import annotations


def table_in(text: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table in a text."""
    lines = [line for line in text.splitlines() if line.startswith("| ") and "| ---" not in line]
    header, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
    return header, rows
