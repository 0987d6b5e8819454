"""``recbole-compress demo model.onnx -o site/``."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from importlib.resources import files
from typing import Any

import onnx

from recbole_compress.arguments import read_file_arguments
from recbole_compress.artifact.session import Session
from recbole_compress.demo.titles import titles_in
from recbole_compress.demo.web_runtime import FILES, copy_runtime
from recbole_compress.errors import ArtifactError, ExportError

__all__ = ["demo", "write_site"]

_PAGE = ("index.html", "style.css", "app.js")
_OURS = {*_PAGE, "runtime", "model.onnx", "catalogue.json"} | {
    os.path.join("runtime", name) for name in FILES
}
_SIGNS = {"app.js", "catalogue.json", "model.onnx"}  # of a page of ours
OPTIONS = ("items", "runtime", "title")


def demo(arguments: list[str]) -> None:
    """The command: ``FILE -o FOLDER [--items=FILE.item] [--runtime=FOLDER] [--title=...]``."""
    usage = "recbole-compress demo model.onnx -o site/"
    path, out, options = read_file_arguments(arguments, usage, OPTIONS)
    out = out or "site"
    write_site(path, out, **options)
    print(
        f"{out}: a static page; look at it with\n"
        f"  python -m http.server --directory {out} 8000   and   http://localhost:8000"
    )


def write_site(
    path: str,
    out: str,
    items: str | None = None,
    runtime: str | None = None,
    title: str | None = None,
) -> None:
    """Put a page, a model, its items' titles and ONNX Runtime Web into one folder.

    Args:
        path: A file of ``recbole-compress export``, with its item tokens.
        out: A new or empty folder, or one of an earlier page.
        items: RecBole's ``.item`` file, for titles.
        runtime: See :func:`~recbole_compress.demo.web_runtime.copy_runtime`.
        title: Of the page.

    Raises:
        RecBoleCompressError: Something is missing or cannot be read; then ``out`` is as before.
    """
    session = Session(path)
    tokens = session.described.get("item_tokens")
    if tokens is None:
        raise ArtifactError(f"{path}: has no item tokens to show; export without --tokens=False")
    model, dataset = session.said("model"), session.said("dataset")
    place_of_it = os.path.realpath(out)  # a link stays one
    _refuse_others_things(out, place_of_it)
    titles = {} if items is None else titles_in(items)
    parent = os.path.dirname(place_of_it)
    os.makedirs(parent, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent) as place:
        fresh = os.path.join(place, "site")
        os.makedirs(os.path.join(fresh, "runtime"))
        copy_runtime(os.path.join(fresh, "runtime"), runtime)
        for name in _PAGE:
            source = files("recbole_compress.demo").joinpath("page").joinpath(name)
            with source.open("rb") as file, open(os.path.join(fresh, name), "wb") as copy:
                shutil.copyfileobj(file, copy)
        _write_model(path, os.path.join(fresh, "model.onnx"))
        catalogue: dict[str, Any] = {
            "title": title or f"{model} on {dataset}",
            "model": model,
            "dataset": dataset,
            "max_length": session.max_length,
            "model_bytes": os.path.getsize(path),
            "tokens": tokens,
            "titles": [titles.get(token, "").strip() or token for token in tokens],
            "k": session.said("k"),
            "exclude_history": session.said("exclude_history"),
        }
        with open(os.path.join(fresh, "catalogue.json"), "w", encoding="utf-8") as text:
            json.dump(catalogue, text, ensure_ascii=False)
        _take_the_place(fresh, place_of_it, os.path.join(place, "before"))


def _refuse_others_things(out: str, folder: str) -> None:
    """Only an earlier page of ours may go, and not from under somebody's feet."""
    if not os.path.exists(folder):
        return
    if not os.path.isdir(folder):
        raise ExportError(f"{out}: is a file; name a folder")
    if os.path.join(os.path.realpath(os.curdir), "").startswith(os.path.join(folder, "")):
        raise ExportError(
            f"{out}: would be replaced while this command runs in it; run it from elsewhere, or "
            "choose a new folder"
        )
    there = set(os.listdir(folder))
    if "runtime" in there:
        names = os.listdir(os.path.join(folder, "runtime"))
        there |= {os.path.join("runtime", name) for name in names}
    folders = {name for name in there if os.path.isdir(os.path.join(folder, name))}
    other = sorted((there - _OURS) | (folders - {"runtime"}))
    if other or (there and not there >= _SIGNS):
        example = f", such as {other[0]}" if other else ""
        raise ExportError(f"{out}: is a folder with other things in it{example}; choose a new one")


def _take_the_place(fresh: str, out: str, aside: str) -> None:
    """Put a folder where another may be, which is moved aside and back if that fails."""
    if not os.path.exists(out):
        os.replace(fresh, out)
        return
    os.replace(out, aside)
    try:
        os.replace(fresh, out)
    except OSError:
        os.replace(aside, out)
        raise


def _write_model(path: str, out: str) -> None:
    """The same graph, without metadata; inputs with defaults must be given in a browser."""
    model = onnx.load(path)
    inputs = {value.name for value in model.graph.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in inputs]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    del model.metadata_props[:]
    onnx.save(model, out)
