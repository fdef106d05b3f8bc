"""Checksums: a file is hashed once per state, and damage is found, named and set aside."""

import os
import subprocess
import time

import pytest

from bench.core import checksums
from bench.core.checksums import Damaged, discard, seal, verify, write_sealed

LONG_AGO = 1_700_000_000_000_000_000  # nanoseconds


@pytest.fixture
def file(tmp_path):
    """A sealed file whose last write is long past."""
    path = tmp_path / "x.bin"
    write_sealed(path, b"content")
    os.utime(path, ns=(LONG_AGO, LONG_AGO))
    return path


@pytest.fixture
def hashed(monkeypatch):
    """The files that were hashed, in order."""
    names = []

    def count(path):
        names.append(path.name)
        return file_digest(path)

    file_digest = checksums.file_digest
    monkeypatch.setattr(checksums, "file_digest", count)
    return names


def test_the_checksum_is_that_of_sha256sum(file):
    digest = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"  # of b"content"
    assert file.with_name("x.bin.sha256").read_text() == f"{digest}  x.bin\n"
    subprocess.run(["sha256sum", "-c", "x.bin.sha256"], cwd=file.parent, check=True)


def test_a_file_is_hashed_once_per_modification_time(file, hashed):
    verify(file)
    verify(file)
    assert hashed == ["x.bin"]
    os.utime(file, ns=(LONG_AGO, LONG_AGO + 1))
    verify(file)
    verify(file)
    assert hashed == ["x.bin"] * 2


def test_a_file_written_a_moment_ago_is_hashed_again(file, hashed):
    """Its time may stay the same when it is written to again at once."""
    os.utime(file, ns=(time.time_ns(), time.time_ns()))
    verify(file)
    verify(file)
    assert hashed == ["x.bin"] * 2


def test_a_sealed_file_counts_as_not_verified(tmp_path, hashed):
    path = tmp_path / "x.bin"
    path.write_bytes(b"content")
    os.utime(path, ns=(0, LONG_AGO))
    seal(path)
    hashed.clear()
    verify(path)
    assert hashed == ["x.bin"]


@pytest.mark.parametrize("verified_before", [False, True])
@pytest.mark.parametrize("content", [b"c0ntent", b"cont", b"", b"content and more"])
def test_overwritten_and_shortened_files_are_damaged(file, content, verified_before):
    if verified_before:
        verify(file)
    file.write_bytes(content)
    for _ in range(2):
        with pytest.raises(Damaged, match=r"x\.bin does not have the sha256 in x\.bin\.sha256"):
            verify(file)


@pytest.mark.parametrize("missing", ["x.bin", "x.bin.sha256"])
def test_a_missing_file_or_checksum_is_named(file, missing):
    (file.parent / missing).unlink()
    with pytest.raises(Damaged, match=f"{missing} is missing"):
        verify(file)


@pytest.mark.parametrize("text", [b"", b"\xff\xfe\x00", b"abc  x.bin\n"])
def test_a_damaged_checksum_verifies_nothing(file, text):
    file.with_name("x.bin.sha256").write_bytes(text)
    with pytest.raises(Damaged):
        verify(file)


def test_a_cache_that_may_not_be_written_to_is_verified_each_time(file, hashed, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError

    monkeypatch.setattr(os, "utime", refuse)
    verify(file)
    verify(file)
    assert hashed == ["x.bin"] * 2


def test_what_is_discarded_is_kept_and_named_in_a_warning(file, caplog):
    discard(file, Damaged("x.bin is short"))
    assert not file.exists() and file.with_name("x.bin.damaged").read_bytes() == b"content"
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("bench", "WARNING")
    assert record.message == "x.bin is short. It is kept as x.bin.damaged and made anew."


def test_what_another_process_discarded_first_is_no_error(file, caplog):
    file.unlink()
    discard(file, Damaged("x.bin is short"))
    assert caplog.records == []
