"""How hosts are extended at run time: replace an attribute, undo one, undo all; and the check that the code is the tested one."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

from taafs_plugins.errors import TaafsError


class HostError(TaafsError, RuntimeError):
    """A host, a version or a model that an adapter does not know; the message is one sentence with the way out."""


class Patches:
    """Attributes of a host that were replaced, so that each can be given back.

    Parameters
    ----------
    host : for error sentences
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self._undo: list[tuple[str, Callable[[], bool], Callable[[], None]]] = []  # label, whether ours is still there, how to undo

    def __bool__(self) -> bool:
        """Whether anything is replaced now."""
        return bool(self._undo)

    def replace(self, owner: Any, name: str, new: Any) -> None:
        """Set an attribute of a class, a module or an object; what was there (or that nothing was) is remembered."""
        had, old = name in vars(owner), vars(owner).get(name)
        setattr(owner, name, new)
        undo = (lambda: setattr(owner, name, old)) if had else (lambda: delattr(owner, name))
        label = getattr(owner, "__qualname__", getattr(owner, "__name__", owner))
        self._undo.append((f"{label}.{name}", lambda: vars(owner).get(name) is new, undo))

    def rebind(self, package: str, name: str, old: Any, new: Any) -> None:
        """Replace a function in every loaded module of a package that imported it by name.

        ``from x import f`` copies the binding: replacing ``x.f`` alone would leave the copies, and which modules have one is the
        host's own affair. Hence the look through ``sys.modules``.
        """

        def swap(before: Any, after: Any) -> None:
            for key, module in list(sys.modules.items()):
                if key.startswith(f"{package}.") and getattr(module, name, None) is before:
                    setattr(module, name, after)

        swap(old, new)
        self._undo.append((name, lambda: True, lambda: swap(new, old)))

    def add(self, label: str, undo: Callable[[], None]) -> None:
        """Remember something else to undo."""
        self._undo.append((label, lambda: True, undo))

    def undo(self) -> None:
        """Give everything back, last first. Calling it twice changes nothing.

        Raises
        ------
        HostError
            Another package replaced one of the attributes since: nothing was given back.
        """
        latest = {label: ours for label, ours, _ in self._undo}  # where we replaced an attribute twice, the second counts
        if foreign := [label for label, ours in latest.items() if not ours()]:
            raise HostError(f"{foreign[0]} was patched again by another package after taafs-plugins; undo that patch first.")
        while self._undo:
            self._undo.pop()[2]()


def source_hash(*code: Any) -> str:
    """First 16 digits of the SHA-256 of the source of classes, functions or modules; ``no source`` where Python cannot show it."""
    try:
        source = "".join(inspect.getsource(part) for part in code)
    except OSError:
        return "no source"
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def changed_code(code: Mapping[str, tuple[Any, ...]], tested: Mapping[str, tuple[str, ...]]) -> list[str]:
    """The names whose source is none of the tested ones.

    Parameters
    ----------
    code : name -> the classes, functions or modules that it stands for
    tested : name -> hashes by :func:`source_hash`
    """
    return [name for name, parts in code.items() if source_hash(*parts) not in tested[name]]
