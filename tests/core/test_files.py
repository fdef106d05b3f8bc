import errno
import json
import os
from pathlib import Path

import pytest

from bench.cli import main
from bench.core.disk import STALE_SECONDS, disk_errors, scratch
from bench.core.errors import BenchError, unknown_name
from bench.core.files import atomic_open, digest, file_digest, write_json, write_text


def test_a_file_appears_whole_and_readable_by_others(tmp_path):
    write_text(tmp_path / "deep" / "a.txt", "whole")
    assert (tmp_path / "deep" / "a.txt").read_text() == "whole"
    assert (tmp_path / "deep" / "a.txt").stat().st_mode & 0o777 == 0o644


def test_an_interrupted_write_keeps_the_old_file_and_leaves_nothing(tmp_path):
    write_text(tmp_path / "a", "old")
    with pytest.raises(KeyboardInterrupt), atomic_open(tmp_path / "a") as file:
        file.write(b"half of the n")
        raise KeyboardInterrupt
    assert (tmp_path / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_full_disk_is_one_clear_message_and_no_file(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    message = "Cannot store cell x in .*disk is full. Free some space"
    with pytest.raises(BenchError, match=message), disk_errors("store cell x", tmp_path):
        write_json(tmp_path / "cell.json", {"a": 1})
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_ends_a_command_in_one_message(monkeypatch, capsys):
    def full(**options):
        raise OSError(errno.ENOSPC, "No space left on device", "table.png")

    monkeypatch.setattr("bench.cli.app.app", full)
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("bench: cannot write table.png: the disk is full. Free some space")
    monkeypatch.setattr("bench.cli.app.app", lambda **options: Path("/no/such/file").read_bytes())
    with pytest.raises(FileNotFoundError):  # a fault of ours keeps its traceback
        main()


def test_json_refuses_nan_because_readers_would(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    write_json(tmp_path / "a.json", {"b": 1, "a": [2]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [2], "b": 1}


def test_digests_follow_content_not_order(tmp_path):
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 1, "b": 3})
    (tmp_path / "a").write_bytes(b"abc")
    assert file_digest(tmp_path / "a").startswith("ba7816bf")


def test_unknown_names_get_the_nearest_and_the_list():
    text = str(unknown_name("dataset", "bussi", ["bus", "busi", "glas"], "Add a card."))
    assert text == (
        "No dataset named 'bussi'. Did you mean 'busi'? Known: bus, busi, glas. Add a card."
    )


def test_a_folder_for_building_survives_one_that_another_process_removes(tmp_path, monkeypatch):
    """Two workers build the same arrays: one lists the other's folder, which is gone by the next line."""
    gone = tmp_path / ".arrays.building-gone"
    monkeypatch.setattr(Path, "glob", lambda self, pattern: [gone])
    with scratch(tmp_path, "arrays") as folder:
        assert folder.is_dir() and folder.parent == tmp_path
    assert not folder.exists()


def test_a_folder_that_a_killed_process_left_goes_after_a_day(tmp_path):
    left, fresh = (tmp_path / f".arrays.building-{name}" for name in ("left", "fresh"))
    for folder in (left, fresh):
        folder.mkdir()
    before = left.stat().st_mtime - STALE_SECONDS - 60
    os.utime(left, (before, before))
    with scratch(tmp_path, "arrays"):
        assert not left.exists() and fresh.exists()
