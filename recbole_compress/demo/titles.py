"""What items are called, from a data set's ``.item`` file."""

from __future__ import annotations

from recbole_compress.errors import DataError

__all__ = ["TITLE_FIELDS", "titles_in"]

# The first of these that a file has.
TITLE_FIELDS = ("movie_title", "title", "item_name", "name", "product_title")


def titles_in(path: str) -> dict[str, str]:
    """Titles by item token: of ``item_id``, or else of the first column of tokens.

    Args:
        path: A RecBole atomic file: tab-separated, ``name:type`` in the first line.

    Raises:
        DataError: The file cannot be read, or has no column of tokens or of titles.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            # Not csv's reader, which refuses long texts.
            rows = (line.rstrip("\n").split("\t") for line in file)
            header = next(rows, [])
            names = [cell.split(":")[0] for cell in header]
            tokens = [n for n, cell in zip(names, header, strict=True) if cell.endswith(":token")]
            if not tokens:
                raise DataError(f"{path}: has no column of type token; give RecBole's .item file")
            field = next((field for field in TITLE_FIELDS if field in names), None)
            if field is None:
                raise DataError(
                    f"{path}: has none of the columns {', '.join(TITLE_FIELDS)}; call the one with "
                    "the titles by one of these names"
                )
            token = names.index("item_id" if "item_id" in tokens else tokens[0])
            title = names.index(field)
            return {row[token]: row[title] for row in rows if len(row) > max(token, title)}
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: titles cannot be read ({error})") from error
