"""Downloading the datasets that are open: resumable, checksummed where a checksum is known."""

import logging
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.core.disk import disk_errors
from bench.core.errors import BenchError
from bench.core.files import file_digest
from bench.data.cards import Card, Download

TIMEOUT_SECONDS = 30
CHUNK_BYTES = 2**16  # what a broken connection costs at most

Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class Fetched:
    """One file on this disk. state: "downloaded", "resumed" or "present" (from before).

    checked: whether its checksum is known and agrees. sha256: what it is, for the record.
    """

    path: Path
    bytes: int
    sha256: str
    checked: bool
    state: str


def fetch(card: Card, folder: Path, progress: Progress | None = None) -> list[Fetched]:
    """Download the files of an open dataset to `<folder>/<name>/`, the source for `prepare`.

    progress: called with (file name, bytes so far, all bytes or None where the server says not).
    A file that is there already is checked and kept; an interrupted one goes on where it stopped
    (`<name>.part`), if the server still has the same file.
    Raises BenchError for datasets given out on request only (saying how to ask), without network,
    for a refused or broken transfer, a wrong checksum, or a full disk.
    """
    if card.access.kind == "local":
        raise BenchError(
            f"{card.title} lies on your own disk (access local). Run `bench data prepare {card.name} "
            "--from FOLDER_OR_ZIP`."
        )
    if card.access.kind == "request" or not card.access.files:
        raise BenchError(
            f"{card.title} cannot be downloaded by a program. {card.access.how} Page: "
            f"{card.access.page}. Then run `bench data prepare {card.name} --from FOLDER_OR_ZIP`."
        )
    folder = folder / card.name
    kept = "What has come is kept: run the same command again to go on."
    with disk_errors(f"download {card.name}", folder, kept):
        folder.mkdir(parents=True, exist_ok=True)
        return [_fetch_one(card, file, folder, progress) for file in card.access.files]


def _fetch_one(card: Card, file: Download, folder: Path, progress: Progress | None) -> Fetched:
    import pooch  # requests behind it takes 0.2 s to import
    import requests

    pooch.get_logger().setLevel(logging.ERROR)  # it prints hashes that `Fetched` returns anyway
    target = folder / file.name
    present = target.exists()
    downloader = Resuming(folder / f"{file.name}.part", progress)
    try:
        pooch.retrieve(file.url, file.checksum, fname=file.name, path=folder, downloader=downloader)
    except requests.exceptions.HTTPError as error:
        raise BenchError(_refused(card, file, str(error))) from error
    except requests.exceptions.RequestException as error:
        raise BenchError(
            f"{file.url} cannot be reached ({type(error).__name__}). Is this machine connected? "
            "Run the same command again to go on where it stopped, or download the file elsewhere "
            f"from {card.access.page} and run `bench data prepare {card.name} --from FILE`."
        ) from error
    except ValueError as error:  # pooch: the hash differs
        raise BenchError(
            f"{file.url} is not the expected file: its checksum is not {file.checksum}. It was "
            f"removed. Run again; if it differs again, see {card.access.page}. {card.access.how}"
        ) from error
    _refuse_web_page(card, file, target)
    state = "present" if present and not downloader.used else downloader.state
    size = target.stat().st_size
    return Fetched(target, size, file_digest(target), file.checksum is not None, state)


def _refused(card: Card, file: Download, error: str) -> str:
    return (
        f"The server refuses {file.url}: {error}. Get the file by hand from {card.access.page} and "
        f"run `bench data prepare {card.name} --from FILE`. {card.access.how}"
    )


def _refuse_web_page(card: Card, file: Download, path: Path) -> None:
    """A login page saved under an archive's name must not be kept as the dataset."""
    archive = file.name.endswith((".zip", ".tar", ".gz", ".tgz"))
    if archive and not zipfile.is_zipfile(path) and not tarfile.is_tarfile(path):
        path.unlink()
        raise BenchError(_refused(card, file, "it sent a web page instead of the archive"))


class Resuming:
    """A downloader for `pooch.retrieve` that keeps what an interrupted transfer has brought.

    part: the file that grows; beside it `<part>.tag` keeps the server's mark of the file's
    version, so that halves of two versions are never joined.
    """

    def __init__(self, part: Path, progress: Progress | None = None) -> None:
        self.part = part
        self.tag = part.with_name(part.name + ".tag")
        self.progress = progress
        self.state = "downloaded"
        self.used = False

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        """Bring `url` to `output_file`; raises requests' exceptions, keeping the part."""
        import requests

        self.used = True
        have = self._have()
        headers = {"Accept-Encoding": "identity"}  # ranges count bytes as stored
        if have:
            headers |= {
                "Range": f"bytes={have}-",
                "If-Range": self.tag.read_text(errors="replace").strip(),
            }
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
            response.raise_for_status()
            if response.status_code != requests.codes.partial_content:
                have = 0
            else:
                self.state = "resumed"
            self._receive(response, have)
        shutil.move(self.part, output_file)
        self.tag.unlink(missing_ok=True)

    def _have(self) -> int:
        """Bytes that can be built on: none without the mark of their version."""
        if self.part.exists() and self.tag.exists():
            return self.part.stat().st_size
        return 0

    def _receive(self, response, have: int) -> None:  # type: ignore[no-untyped-def]
        import requests

        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        mark = response.headers.get("ETag", "")
        # Weak marks (W/) do not promise equal bytes, so such a part cannot be continued.
        if mark and not mark.startswith("W/"):
            self.tag.write_text(mark)
        elif modified := response.headers.get("Last-Modified"):
            self.tag.write_text(modified)
        else:
            self.tag.unlink(missing_ok=True)
        with self.part.open("ab" if have else "wb") as file:
            for chunk in response.iter_content(CHUNK_BYTES):
                have += file.write(chunk)
                if self.progress:
                    self.progress(self.part.name.removesuffix(".part"), have, total)
            file.flush()
            os.fsync(file.fileno())
        if total is not None and have != total:
            raise requests.exceptions.ConnectionError(f"got {have} of {total} bytes")
