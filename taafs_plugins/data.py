"""Real DFT data for the demo, the examples, the tests and the benchmarks: downloaded once, checksummed, never unpickled.

Every file comes from a public repository at a fixed commit. ``TAAFS_DATA_MIRROR`` names a folder laid out as
``OWNER/REPOSITORY/PATH`` that is used instead of the network; ``TAAFS_DATA_CACHE`` the folder for downloads.
"""

from __future__ import annotations

import json
import os
from functools import cache
from importlib.resources import files
from pathlib import Path

from taafs_plugins.errors import TaafsError

MIRROR = "TAAFS_DATA_MIRROR"
CACHE = "TAAFS_DATA_CACHE"
SOURCE = "https://raw.githubusercontent.com"


class DataError(TaafsError, RuntimeError):
    """Data that cannot be had or is not what it should be; the message is one sentence with the way out."""


@cache
def registry() -> dict[str, str]:
    """Relative path -> SHA-256 of every file that can be fetched."""
    return json.loads(files("taafs_plugins").joinpath("data_registry.json").read_text())["files"]


def _url(path: str) -> str | None:
    commits = json.loads(files("taafs_plugins").joinpath("data_registry.json").read_text())["commits"]
    owner, repository, *rest = path.split("/")
    commit = commits.get(f"{owner}/{repository}")
    return f"{SOURCE}/{owner}/{repository}/{commit}/{'/'.join(rest)}" if commit else None


def fetch(path: str) -> Path:
    """Local path of one registered file, checked against its SHA-256.

    Parameters
    ----------
    path : ``OWNER/REPOSITORY/PATH``, a key of :func:`registry`

    Raises
    ------
    DataError
        Unknown file, a wrong checksum, or no network and no mirror folder.
    """
    import pooch

    if path not in registry():
        raise DataError(f"'{path}' is not a registered data file; taafs_plugins.data.registry() lists them.")
    known_hash = f"sha256:{registry()[path]}"
    if mirror := os.environ.get(MIRROR):
        local = Path(mirror) / path
        if not local.is_file():
            raise DataError(f"{MIRROR}={mirror} has no {path}; unset it to download instead.")
        if pooch.file_hash(str(local)) != registry()[path]:
            raise DataError(f"{local} does not have the registered SHA-256; replace it or unset {MIRROR}.")
        return local
    url = _url(path)
    cache_folder = Path(os.environ.get(CACHE) or pooch.os_cache("taafs-plugins"))
    target = cache_folder / path
    if url is None and not target.is_file():
        raise DataError(f"{path} was converted by hand and cannot be downloaded; set {MIRROR} to a folder that holds it.")
    try:
        return Path(pooch.retrieve(url or "", known_hash, fname=target.name, path=target.parent, progressbar=_progressbar()))
    except ValueError as error:
        raise DataError(f"The download of {path} does not have the registered SHA-256 ({error}).") from None
    except OSError as error:
        raise DataError(f"{path} could not be downloaded ({type(error).__name__}); set {MIRROR} to a folder that holds it.") from None


def _progressbar() -> bool:
    try:
        import tqdm  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True


def fetch_folder(prefix: str) -> Path:
    """Fetch every registered file below ``prefix`` and return the local folder."""
    paths = [path for path in registry() if path.startswith(prefix.rstrip("/") + "/")]
    if not paths:
        raise DataError(f"No registered data file lies below '{prefix}'.")
    local = [fetch(path) for path in paths]
    depth = len(Path(paths[0]).relative_to(prefix).parts)
    return local[0].parents[depth - 1]
