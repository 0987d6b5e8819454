"""The page, in a real browser: the same items as Python, and not a word to anyone."""

from __future__ import annotations

import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import tarfile
import threading

import pytest

from recbole_compress.artifact import Recommender
from recbole_compress.demo.site import _take_the_place, write_site
from recbole_compress.demo.titles import titles_in
from recbole_compress.demo.web_runtime import FILES, copy_runtime
from recbole_compress.errors import ArtifactError, DataError, ExportError
from recbole_compress.export.writing import export_model
from tests.quantization.models import N_ITEMS, made

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
# The folder `dist` of the npm package onnxruntime-web, or its archive.
RUNTIME = os.environ.get("ONNXRUNTIME_WEB")


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> str:
    path = str(tmp_path_factory.mktemp("demo") / "model.onnx")
    described = {
        "model": "TTSASRec",
        "dataset": "nowhere",
        "item_tokens": ["[PAD]", *(f"t{i}" for i in range(1, N_ITEMS))],
    }
    export_model(made("TTSASRec")[1], path, described=described)
    return path


@pytest.fixture
def runtime(tmp_path) -> str:
    """Files of the right names, for tests that open no browser."""
    folder = tmp_path / "runtime"
    folder.mkdir()
    for name in FILES:
        (folder / name).write_text("")
    return str(folder)


def test_a_site_is_written_whole_or_not_at_all(exported, runtime, tmp_path) -> None:
    out = tmp_path / "site"
    with pytest.raises(ExportError, match="has no ort"):
        write_site(exported, str(out), runtime=str(tmp_path))
    assert not out.exists()
    for _ in range(2):  # a page takes the place of an earlier one
        write_site(exported, str(out), runtime=runtime)
    assert {"index.html", "app.js", "model.onnx", "catalogue.json"} <= set(os.listdir(out))
    (tmp_path / "mine").mkdir()
    for folder in ("mine", "site"):  # also in a page that somebody has put something into
        (tmp_path / folder / "letter.txt").write_text("dear")
        (tmp_path / folder / "app.js").touch()
        with pytest.raises(ExportError, match="other things"):
            write_site(exported, str(tmp_path / folder), runtime=runtime)
        assert (tmp_path / folder / "letter.txt").read_text() == "dear"


def test_the_page_begins_as_the_file_was_told(runtime, tmp_path) -> None:
    described = {"model": "TTSASRec", "dataset": "nowhere"}
    described["item_tokens"] = ["[PAD]", *(f"t{i}" for i in range(1, N_ITEMS))]
    path = str(tmp_path / "model.onnx")
    export_model(made("TTSASRec")[1], path, k=5, exclude_history=True, described=described)
    (tmp_path / "some.item").write_text("item_id:token\ttitle:token_seq\nt1\t\nt2\tTwo\n")
    write_site(path, str(tmp_path / "site"), str(tmp_path / "some.item"), runtime)
    catalogue = json.loads((tmp_path / "site" / "catalogue.json").read_text())
    assert catalogue["k"] == 5 and catalogue["exclude_history"] is True
    assert catalogue["titles"][1:4] == ["t1", "Two", "t3"]


def test_a_download_that_broke_off_is_one_line(tmp_path) -> None:
    dist = tmp_path / "package" / "dist"
    dist.mkdir(parents=True)
    for name in FILES:
        (dist / name).write_bytes(os.urandom(1000))
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as content:
        content.add(dist.parent, "package")
    whole = (tmp_path / "a.tgz").read_bytes()
    (tmp_path / "a.tgz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ExportError, match=r"a\.tgz: no archive of onnxruntime-web"):
        copy_runtime(str(tmp_path), str(tmp_path / "a.tgz"))


def test_nothing_of_others_inside_a_page_is_lost(exported, runtime, tmp_path, monkeypatch) -> None:
    out = tmp_path / "site"
    write_site(exported, str(out), runtime=runtime)
    mine = out / "runtime" / "mine.txt"
    mine.write_text("dear")
    with pytest.raises(ExportError, match=r"other things in it, such as runtime.mine\.txt"):
        write_site(exported, str(out), runtime=runtime)
    assert mine.read_text() == "dear"
    mine.unlink()
    monkeypatch.chdir(out)
    before = sorted(os.listdir())
    with pytest.raises(ExportError, match="runs in it"):
        write_site(exported, ".", runtime=runtime)
    assert sorted(os.listdir(out)) == before


def test_a_link_to_a_page_stays_one(exported, runtime, tmp_path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "link"
    link.symlink_to("real")
    for title in ("one", "two"):
        write_site(exported, str(link), runtime=runtime, title=title)
    assert link.is_symlink() and '"two"' in (tmp_path / "real" / "catalogue.json").read_text()
    assert sorted(os.listdir(tmp_path)) == ["link", "real", "runtime"]
    with pytest.raises(ExportError, match="is a file"):
        write_site(exported, exported, runtime=runtime)


def test_a_page_that_cannot_be_moved_in_leaves_the_old_one(tmp_path, monkeypatch) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    (tmp_path / "old" / "letter.txt").touch()
    real = os.replace

    def fails(source, target):
        if os.path.basename(source) == "new":
            raise OSError(28, "No space left on device", target)
        real(source, target)

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="No space"):
        _take_the_place(*(str(tmp_path / name) for name in ("new", "old", "aside")))
    assert os.listdir(tmp_path / "old") == ["letter.txt"]


@pytest.mark.slow
def test_a_file_without_tokens_has_nothing_to_show(runtime, tmp_path) -> None:
    path = str(tmp_path / "m.onnx")
    export_model(made("TTSASRec")[1], path)
    with pytest.raises(ArtifactError, match="no item tokens"):
        write_site(path, str(tmp_path / "site"), runtime=runtime)


def test_titles_come_from_the_item_file(tmp_path) -> None:
    path = tmp_path / "d.item"
    path.write_text("item_id:token\tmovie_title:token_seq\n1\tToy Story\n")
    assert titles_in(str(path)) == {"1": "Toy Story"}
    path.write_text(f"item_id:token\ttitle:token\r\n1\t{'x' * 200_000}\r\n")
    assert len(titles_in(str(path))["1"]) == 200_000
    path.write_text("sku:token\ttitle:token_seq\n1\tToy Story\n", encoding="utf-8-sig")
    assert titles_in(str(path)) == {"1": "Toy Story"}
    path.write_text("item_id:token\tprice:float\n1\t2\n")
    with pytest.raises(DataError, match="has none of the columns movie_title, title"):
        titles_in(str(path))
    path.write_text("a,b\n")
    with pytest.raises(DataError, match="no column of type token"):
        titles_in(str(path))


@pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
@pytest.mark.skipif(
    RUNTIME is None, reason="ONNXRUNTIME_WEB names no copy of the npm package onnxruntime-web"
)
@pytest.mark.slow
def test_a_browser_says_what_python_says(exported, tmp_path) -> None:
    site = tmp_path / "site"
    write_site(exported, str(site), runtime=RUNTIME)
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format, *arguments) -> None:
            asked.append(f"{arguments[0]} {arguments[1]}")

    handler = functools.partial(Handler, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            done = subprocess.run(
                [
                    *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
                    *("--enable-logging=stderr", "--virtual-time-budget=20000"),
                    # Any request to another machine would fail, and say so.
                    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                    f"--user-data-dir={tmp_path / 'profile'}",
                    f"http://127.0.0.1:{server.server_address[1]}/#items=t3,t7,t8",
                ],
                capture_output=True,
                text=True,
                timeout=120,
            )
        finally:
            server.shutdown()
            thread.join()
    page = done.stdout
    results = page[page.index('id="results"') :]
    shown = re.findall(r'data-item="([^"]+)"', results)
    expected = [one.item for one in Recommender(exported).recommend(["t3", "t7", "t8"])]
    assert shown == expected
    assert 'data-ready="true"' in page
    assert "CONSOLE" not in done.stderr
    wanted = {"", "style.css", "app.js", "catalogue.json", "model.onnx"}
    wanted |= {f"runtime/{name}" for name in FILES}
    assert {line.split()[1].lstrip("/") for line in asked} <= wanted
    assert all(line.endswith("200") for line in asked)
