"""Facts about a tokenizer that need no weights: name, role, files, size. Torch-free.

A plugin registers a `TokenizerSpec` in the entry-point group `bench.tokenizers`, or defines SPEC in
a `--plugin FILE`. Users name a tokenizer `NAME` or `NAME@LOCATION`, where a location is a folder, a
single file or a Hugging Face id.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any, Literal

from bench.core.errors import BenchError
from bench.core.files import digest, file_digest

if TYPE_CHECKING:
    from bench.tokenizers.base import FrozenTokenizer

CONFIG = "config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
SINGLE_FILES = (".safetensors", ".ckpt", ".pt", ".pth")
NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
ROLES = ("continuous", "discrete")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(/[\w.-]+)*")


@dataclass(frozen=True)
class TokenizerSpec:
    """One tokenizer and how to get its weights.

    name: as typed by users. role: what methods ask for.
    loader: a function of `(spec, files, location, weights)` that returns a `FrozenTokenizer`. It
        imports torch and the network inside its body, so that specs are listed without them.
    latent_channels, factor, parameters: None where they depend on the location.
    source: where the weights come from, in words. folder: where they ship.
    hub: Hugging Face id, `owner/name` or `owner/name/subfolder`, asked when nothing else is named.
    wanted: the files that a folder of weights holds; their bytes make the weights hash.
    single_file: a lone checkpoint file is taken, too.
    config: the architecture where no config.json lies beside the weights.
    classes: the classes of diffusers that a config.json may name.
    """

    name: str
    summary: str
    role: Literal["continuous", "discrete"]
    loader: "Callable[[TokenizerSpec, Sequence[Path], str, bool], FrozenTokenizer]"
    source: str
    latent_channels: int | None = None
    factor: int | None = None
    parameters: int | None = None
    licence: str = ""
    folder: Path | None = None
    hub: str = ""
    wanted: tuple[str, ...] = (CONFIG, WEIGHTS)
    single_file: bool = False
    config: dict[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name) or self.name in ROLES:
            raise BenchError(
                f"A tokenizer may not be named {self.name!r}: a name is letters, digits, '.', '_' "
                f"and '-', and not a role ({', '.join(ROLES)}). Choose another name."
            )
        if not isinstance(self.loader, FunctionType):
            raise BenchError(
                f"Tokenizer {self.name!r}: loader is {self.loader!r}, and must be a function of "
                "(spec, files, location, weights). Write `def load(...)` beside the spec and "
                "give loader=load."
            )

    @property
    def source_file(self) -> Path:
        """The Python file that defines the loader; the tokenizer's code is what it imports."""
        assert isinstance(self.loader, FunctionType)
        return Path(self.loader.__code__.co_filename).resolve()

    @property
    def variable(self) -> str:
        """The environment variable that names a location for this tokenizer."""
        return "GMS_BENCH_TOKENIZER_" + self.name.upper().replace("-", "_")

    def location(self, named: str | None = None) -> str:
        """Where the weights are sought: as named, else $variable, else the default; "" for none."""
        return named or os.environ.get(self.variable, "") or str(self.folder or "") or self.hub

    def files(self, location: str | None = None, fetch: bool = True) -> list[Path]:
        """The files of weights, in the order of `wanted`, or a single checkpoint.

        fetch: whether Hugging Face may be asked when the files are not in its local cache.
        Raises BenchError saying what is missing, how to fetch it and how to point to it.
        """
        place = self.location(location)
        if not place:
            raise self._missing("no location is named and it has no default one")
        path = Path(place).expanduser()
        if path.is_file():
            return [self._checked_file(path)]
        if path.is_dir():
            return self._in_folder(path)
        if HUB_ID.fullmatch(place) and not place.startswith("."):
            return self._from_hub(place, fetch)
        raise self._missing(f"{place} is neither a folder, nor a file, nor a Hugging Face id")

    def weights_hash(self, location: str | None = None) -> str:
        """sha256, hex, over the sha256 of every file of weights; reads no weight into memory."""
        return digest([_digest(str(p), p.stat().st_mtime_ns) for p in self.files(location)])

    def load(self, location: str | None = None, weights: bool = True) -> "FrozenTokenizer":
        """The frozen tokenizer as an `nn.Module` on the CPU.

        weights False: the architecture alone, for counting; nothing pretrained is read or fetched.
        """
        files: Sequence[Path] = self.files(location) if weights else ()
        tokenizer = self.loader(self, files, self.location(location), weights)
        tokenizer.name = self.name
        tokenizer.weights_hash = self.weights_hash(location) if weights else "untrained"
        return tokenizer

    def row(self, location: str | None = None) -> dict[str, Any]:
        """What `bench list tokenizers` prints; asks the local disk only."""
        try:
            self.files(location, fetch=False)
            at_hand, found = True, self.weights_hash(location)
        except BenchError:
            at_hand, found = False, None
        return {
            "name": self.name,
            "role": self.role,
            "latent_channels": self.latent_channels,
            "factor": self.factor,
            "parameters": self.parameters,
            "weights_hash": found,
            "at_hand": at_hand,
            "source": self.source,
            "licence": self.licence,
            "summary": self.summary,
        }

    def _checked_file(self, path: Path) -> Path:
        if not self.single_file:
            raise self._missing(f"{path} is a file, and {self.name} is loaded from a folder")
        if path.suffix not in SINGLE_FILES:
            raise self._missing(f"{path} ends in none of {', '.join(SINGLE_FILES)}")
        return path

    def _in_folder(self, folder: Path) -> list[Path]:
        subfolder = self.hub.partition("/")[2].partition("/")[2]
        # A whole pipeline on disk keeps the autoencoder in the subfolder that the hub has it in.
        for place in (folder, folder / subfolder) if subfolder else (folder,):
            if all((place / name).is_file() for name in self.wanted):
                return [place / name for name in self.wanted]
        absent = [name for name in self.wanted if not (folder / name).is_file()]
        raise self._missing(f"{folder} lacks {' and '.join(absent)}")

    def _from_hub(self, place: str, fetch: bool) -> list[Path]:
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
        from huggingface_hub.errors import LocalEntryNotFoundError

        owner, name, *inner = place.split("/")
        where: dict[str, Any] = {"repo_id": f"{owner}/{name}", "subfolder": "/".join(inner) or None}
        try:
            return [
                Path(hf_hub_download(filename=file, local_files_only=True, **where))
                for file in self.wanted
            ]
        except LocalEntryNotFoundError:
            if not fetch:
                raise self._missing(f"{place} is not in the local Hugging Face cache") from None
        try:
            # One question first: a download retries for half a minute where there is no network.
            get_hf_file_metadata(hf_hub_url(filename=self.wanted[0], **where), timeout=10)
            return [Path(hf_hub_download(filename=file, **where)) for file in self.wanted]
        except Exception as error:  # its HTTP library, and so what it raises, varies by version
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise self._missing(
                f"there is no folder {place}, and Hugging Face did not give it ({reason})"
            ) from error

    def _missing(self, reason: str) -> BenchError:
        fetch = ""
        if self.hub:
            owner, name, *inner = self.hub.split("/")
            include = f' --include "{"/".join(inner)}/*"' if inner else ""
            fetch = (
                f" On a connected machine: `hf download {owner}/{name}{include} --local-dir DIR`."
            )
        kinds = "a folder with " + " and ".join(self.wanted)
        kinds += f", or one file ({', '.join(SINGLE_FILES)})" if self.single_file else ""
        return BenchError(
            f"Tokenizer {self.name!r} has no weights here: {reason}. It takes {kinds}. "
            f"Source: {self.source}.{fetch} Point to them with {self.name}@LOCATION or {self.variable}=LOCATION."
        )


@lru_cache(maxsize=64)
def _digest(path: str, modified: int) -> str:
    """`file_digest`, once per file and change of it."""
    return file_digest(Path(path))
