"""What items are called, from a data set's ``.item`` file."""

from __future__ import annotations

from recbole_compress.errors import DataError

__all__ = ["TITLE_FIELDS", "titles_in"]

# The first of these that a file has.
TITLE_FIELDS = ("movie_title", "title", "item_name", "name", "product_title")


def titles_in(path: str) -> dict[str, str]:
    """Titles by item token; empty where the file has no such column.

    Args:
        path: A RecBole atomic file: tab-separated, ``name:type`` in the first line.

    Raises:
        DataError: The file cannot be read, or has no ``item_id``.
    """
    try:
        with open(path, encoding="utf-8") as file:
            # Not csv's reader, which refuses long texts.
            rows = (line.rstrip("\n").split("\t") for line in file)
            names = [cell.split(":")[0] for cell in next(rows, [])]
            if "item_id" not in names:
                raise DataError(f"{path}: has no column item_id; give RecBole's .item file")
            field = next((field for field in TITLE_FIELDS if field in names), None)
            if field is None:
                return {}
            token, title = names.index("item_id"), names.index(field)
            return {row[token]: row[title] for row in rows if len(row) > max(token, title)}
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: titles cannot be read ({error})") from error
