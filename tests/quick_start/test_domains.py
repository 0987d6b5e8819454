"""``split-domains`` and ``pair-domains``: files in, files out, one clear line for every fault."""

from __future__ import annotations

import gzip

import pytest

from recbole_compress.quick_start.command_line import main
from tests.conftest import SEQUENCES, write_interactions
from tests.refusals import refusal


def rows(path):
    head, *lines = path.read_text().splitlines()
    return head, [tuple(line.split("\t")) for line in lines]


@pytest.mark.parametrize("by", ["popularity", "id"])
def test_one_file_becomes_two_data_sets_of_the_same_users(in_tmp, by, capsys):
    write_interactions(in_tmp, "whole", SEQUENCES)
    plain = in_tmp / "whole" / "whole.inter"
    packed = in_tmp / "packed.inter.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert main(["split-domains", str(packed), f"--by={by}", "--output=out"]) == 0
    said = capsys.readouterr().out
    header, everything = rows(plain)
    parts = [
        rows(in_tmp / "out" / name / f"{name}.inter") for name in ("packed-source", "packed-target")
    ]
    assert parts[0][0] == parts[1][0] == header
    users = [{row[0] for row in part} for _, part in parts]
    items = [{row[1] for row in part} for _, part in parts]
    assert users[0] == users[1] and not items[0] & items[1]
    assert sorted(parts[0][1] + parts[1][1]) == sorted(r for r in everything if r[0] in users[0])
    assert abs(len(items[0]) - len(items[1])) <= 1
    assert "--source_dataset=packed-source --dataset=packed-target --data_path=out" in said


def test_two_files_are_looked_at_or_cut_to_their_common_users(in_tmp, capsys):
    (in_tmp / "a.inter").write_text("who:token\twhat:token\nx\t1\ny\t2\n")
    (in_tmp / "b.inter").write_text("who:token\twhat:token\trating:float\ny\t7\t5\nz\t8\t4\n")
    names = ["--user=who", "--item=what"]
    assert main(["pair-domains", "a.inter", "b.inter", *names]) == 0
    said = capsys.readouterr().out
    assert "nothing written" in said and not (in_tmp / "out").exists()
    assert main(["pair-domains", "a.inter", "b.inter", *names, "--output=out"]) == 0
    assert rows(in_tmp / "out" / "a" / "a.inter") == ("user_id:token\titem_id:token", [("y", "2")])
    header, its = rows(in_tmp / "out" / "b" / "b.inter")
    assert header == "user_id:token\titem_id:token\trating:float" and its == [("y", "7", "5")]


def test_columns_may_change_places(in_tmp):
    (in_tmp / "a.inter").write_text("item_id:token\tuser_id:token\nx\t1\nx\t2\ny\t1\ny\t2\n")
    swapped = ["--user=item_id", "--item=user_id"]
    assert main(["split-domains", "a.inter", "--output=out", *swapped]) == 0
    header, its = rows(in_tmp / "out" / "a-source" / "a-source.inter")
    assert header == "user_id:token\titem_id:token" and its == [("x", "1"), ("y", "1")]


@pytest.mark.parametrize("marks", [(7,), (7, 20)])
def test_quotation_marks_are_characters(in_tmp, marks, capsys):
    lines = [f"u{u}\t{chr(34)}i{i}\t{9 * u + i}\tsaid" for u in range(5) for i in range(6)]
    for mark in marks:  # one that is never closed, and two that are rows apart
        lines[mark] = lines[mark].replace("said", '"Great 12" disc')
    head = "user_id:token\titem_id:token\ttimestamp:float\ttitle:token_seq"
    (in_tmp / "a.inter").write_text("\n".join([head, *lines]) + "\n")
    assert main(["split-domains", "a.inter", "--output=out"]) == 0
    assert main(["pair-domains", "a.inter", "a.inter", "--output=pair"]) == 0
    everything = sorted(tuple(line.split("\t")) for line in lines)
    parts = [rows(in_tmp / "out" / f"a-{n}" / f"a-{n}.inter") for n in ("source", "target")]
    assert [header for header, _ in parts] == [head, head]
    assert sorted(parts[0][1] + parts[1][1]) == everything
    header, pair = rows(in_tmp / "pair" / "a-target" / "a-target.inter")
    assert header == head and sorted(pair) == everything


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pair-domains", "a.inter", "c.inter"], "none of the 2 users of the source and 1 of the"),
        (["pair-domains", "a.inter"], "1 files given: expected SOURCE.inter and TARGET.inter"),
        (["split-domains", "a.inter", "--by=popularty"], "did you mean 'popularity'"),
        (["split-domains", "a.inter", "--share=half"], "--share=half: expected a number"),
        (["split-domains", "a.inter", "--shares=0.3"], "did you mean 'share'"),
        (["split-domains", "a.inter", "--user=usr"], "no column 'usr'; name it with --user"),
        (["split-domains", "nowhere.inter"], "there is no such file"),
        (["split-domains", "a.inter", "--share=0.01"], "leaves a domain empty"),
        *(
            (["split-domains", "a.inter", f"--share={share}"], f"share={share}: of 2 items")
            for share in ("nan", "inf", "-inf", "1.5")
        ),
        *(
            (["pair-domains", "a.inter", "a.inter", f"--{key}={least}"], f"--{key}={least}: expec")
            for key, least in (
                *(("min_source", least) for least in ("inf", "nan", "2.7")),
                *(("min_target", least) for least in ("-3", "0")),
            )
        ),
        (
            ["split-domains", "f.inter"],
            "timestamp='2014-01-01' in the source: times are compared as numbers; write them as ",
        ),
        (
            ["split-domains", "d.inter", "--item=parent_id"],
            "d.inter: --item=parent_id is written as 'item_id', and there is another column of "
            "that name; rename or remove the column 'item_id'",
        ),
        (["pair-domains", "a.inter", "d.inter", "--item=user_id"], "--user=user_id: a.inter has"),
        (["split-domains", "e.inter"], "two columns of one name in user_id:token, item_id:token, "),
    ],
)
def test_refusals(in_tmp, arguments, message, capsys):
    head = "user_id:token\titem_id:token\n"
    (in_tmp / "a.inter").write_text(head + "x\t1\ny\t2\n")
    (in_tmp / "c.inter").write_text(head + "z\t1\n")
    dates = "x\t1\t2014-01-01\nx\t2\t2014-01-01\n"
    (in_tmp / "f.inter").write_text(f"user_id:token\titem_id:token\ttimestamp:token\n{dates}")
    (in_tmp / "d.inter").write_text("user_id:token\titem_id:token\tparent_id:token\nx\t1\t2\n")
    (in_tmp / "e.inter").write_text("user_id:token\titem_id:token\titem_id:token\nx\t1\t2\n")
    assert message in refusal(capsys, arguments)


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ("y\t2", "timestamp"),
        ("y\t\t5\tsaid", "item_id"),
        ("\t2\t5\tsaid", "user_id"),
        ("y\t2\t5", "title"),  # cut off; empty, it would be a title that nobody gave
    ],
)
@pytest.mark.parametrize("command", [["split-domains"], ["pair-domains", "good.inter"]])
def test_rows_without_all_of_their_cells_are_refused(in_tmp, command, line, column, capsys):
    head = "user_id:token\titem_id:token\ttimestamp:float\ttitle:token_seq\n"
    rows = "x\t1\t3\t\nx\t2\t4\tsaid\n"
    (in_tmp / "good.inter").write_text(head + rows)
    (in_tmp / "bad.inter").write_text(f"{head}{rows}\n{line}\nz\t1\n")
    assert main([*command, "good.inter"]) == 0  # no title is a title
    assert (
        refusal(capsys, [*command, "bad.inter"])
        == f"error: bad.inter, line 5: no value in column {column!r}; fill it in or remove the line"
    )


def test_rows_with_more_cells_than_the_header_are_refused(in_tmp, capsys):
    (in_tmp / "a.inter").write_text("user_id:token\titem_id:token\nx\t1\t5\nx\t2\t5\n")
    message = "a.inter: its rows have more cells than the header; name every column"
    assert message in refusal(capsys, ["split-domains", "a.inter"])


def test_nothing_is_lost_where_a_file_is_there_already(in_tmp, capsys):
    for name in ("a", "b"):
        write_interactions(in_tmp, name, SEQUENCES)
    files = [in_tmp / name / f"{name}.inter" for name in ("a", "b")]
    with files[1].open("a") as file:  # so that cutting to the common users changes it
        file.write("only b has this user\t1\t1\n")
    before = [file.read_text() for file in files]
    assert main(["pair-domains", *map(str, files), "--output=."]) == 2
    assert "b/b.inter: there is another file of this name" in capsys.readouterr().err
    assert [file.read_text() for file in files] == before
    for _ in range(2):  # the same files again are no loss
        assert main(["pair-domains", *map(str, files), "--output=out"]) == 0
