"""The one-line description of an activation that a host's config carries.

``family[:variant][,key=value...]``, for example ``taafs:bspline,grid=7,share=network``. A spec is a plain string in every
config, checkpoint and model file; this module turns it into a :class:`Spec` and back. Parsing and printing are inverse.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from taafs_plugins.errors import TaafsError

_SIZES = ("grid", "degree", "n", "num")
_MEANT = {
    "degree": ("order", *_SIZES), "order": _SIZES[1:], "grid": _SIZES, "n": _SIZES, "k": _SIZES, "knots": _SIZES, "size": _SIZES,
    "lr": ("rate",), "learning_rate": ("rate",), "activation": ("base",),
}  # fmt: skip
SHARES = ("global", "network", "layer", "neuron")


class SpecError(TaafsError, ValueError):
    """A spec that cannot be used; the message is one sentence with the nearest valid spelling."""


@dataclass(frozen=True)
class Key:
    """One ``key=value`` of a spec: how it is read, which values are allowed, and its default.

    ``convert`` maps the text to a value or raises ``ValueError``; ``allowed`` says in words what it takes.
    """

    convert: Callable[[str], Any]
    allowed: str
    default: Any = None


def nearest(word: str, known: list[str], cutoff: float = 0.5) -> str:
    """``"Did you mean 'x'? "`` when something known begins with ``word`` or is close to it, else an empty string.

    >>> nearest("bsplin", ["bspline", "fourier"])
    "Did you mean 'bspline'? "
    """
    longer = [name for name in known if len(word) > 2 and name.startswith(word)]
    close = longer[:1] or difflib.get_close_matches(word, known, n=1, cutoff=cutoff)
    return f"Did you mean '{close[0]}'? " if close else ""


def integer(low: int, high: int) -> Key:
    """A key that takes whole numbers from ``low`` to ``high`` (without default)."""

    def convert(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise ValueError
        return value

    return Key(convert, f"a whole number from {low} to {high}")


def number(low: float, high: float = float("inf"), *, open_low: bool = False) -> Key:
    """A key that takes finite numbers in [low, high], or (low, high] with ``open_low``."""

    def convert(text: str) -> float:
        value = float(text)
        if not (low < value if open_low else low <= value) or not value <= high or value == float("inf"):
            raise ValueError
        return value

    words = f"a number above {low:g}" if open_low else f"a number of at least {low:g}"
    return Key(convert, words if high == float("inf") else f"{words} and at most {high:g}")


def choice(*values: str) -> Key:
    """A key that takes one of the given words."""

    def convert(text: str) -> str:
        if text not in values:
            raise ValueError
        return text

    return Key(convert, "one of " + ", ".join(values))


def with_default(key: Key, default: Any) -> Key:
    """The same key with a default."""
    return replace(key, default=default)


def _scale(text: str) -> float | str:
    return "auto" if text == "auto" else number(0, open_low=True).convert(text)


def _base(text: str) -> str:
    if not text:
        raise ValueError
    return text


def _theta(text: str) -> tuple[float, ...]:
    values = tuple(float(part) for part in text.split("/"))
    if not all(abs(v) < float("inf") for v in values):
        raise ValueError
    return values


def common_keys() -> dict[str, Key]:
    """The keys that every family takes, in the order they are printed.

    ``theta`` carries trained coefficients (slash-separated, row by row for ``share=neuron``) through files that keep only an
    activation's name.
    """
    return {
        "base": Key(_base, "the name of the activation that is replaced"),
        "share": with_default(choice(*SHARES), "layer"),
        "rate": with_default(number(0, open_low=True), 1.0),
        "theta": numbers(),
    }


def numbers() -> Key:
    """A key that takes finite numbers separated by slashes, as a tuple (without default)."""
    return Key(_theta, "finite numbers separated by '/'")


def scale_key() -> Key:
    """The key ``scale``: ``auto`` or a number above 0; 1 by default."""
    return Key(_scale, "'auto' or a number above 0", 1.0)


@dataclass(frozen=True)
class Spec:
    """A parsed spec. ``options`` holds only the keys that are set, already converted.

    ``str(spec)`` gives the text back; ``parse(str(spec)) == spec``. ``resolved`` says that every key has its value.

    >>> str(Spec("taafs", "bspline", {"grid": 7, "rate": 10.0}))
    'taafs:bspline,grid=7,rate=10'
    """

    family: str
    variant: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    resolved: bool = field(default=False, compare=False)

    def __getitem__(self, key: str) -> Any:
        return self.options[key]

    def get(self, key: str, default: Any = None) -> Any:
        """The value of ``key``, or ``default`` when the spec does not set it."""
        return self.options.get(key, default)

    def with_options(self, **options: Any) -> Spec:
        """A copy with some keys set; a value of ``None`` removes the key."""
        merged = {**self.options, **options}
        return replace(self, options={k: v for k, v in merged.items() if v is not None})

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        head = self.family if self.variant is None else f"{self.family}:{self.variant}"
        return ",".join([head, *(f"{key}={format_value(value)}" for key, value in self.options.items())])


def format_value(value: Any) -> str:
    """A value as a spec prints it: shortest text that reads back to the same number.

    >>> format_value((1.0, 0.1, -2e-30))
    '1/0.1/-2e-30'
    """
    if isinstance(value, tuple):
        return "/".join(format_value(v) for v in value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return str(value)


def split(text: str) -> tuple[str, str | None, list[tuple[str, str]]]:
    """Split a spec into family, variant and (key, text) pairs without judging them.

    >>> split("taafs:bspline, grid=7")
    ('taafs', 'bspline', [('grid', '7')])

    Raises
    ------
    SpecError
        Empty text, a stray comma, a missing ``=`` or a key given twice.
    """
    if not isinstance(text, str):
        raise SpecError(f"A spec is a string such as 'taafs:chebyshev1', not {type(text).__name__}.")
    text = text.strip().lower()
    if text in ("", "none", "null"):
        raise SpecError(f"The spec is {text or 'empty'}; write for example 'taafs:chebyshev1', and nothing at all for a stock activation.")
    head, *rest = [part.strip() for part in text.split(",")]
    if not head or not all(rest):
        raise SpecError(f"'{text}' has a stray comma; write for example 'taafs:chebyshev1,degree=7'.")
    family, colon, variant = head.partition(":")
    if colon and not variant:
        example = f"write for example 'taafs:chebyshev1'{'' if family in ('', 'taafs') else ', or leave the colon out'}"
        raise SpecError(f"'{text}' has nothing behind the colon; {example}.")
    pairs: list[tuple[str, str]] = []
    for part in rest:
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not key or not value:
            raise SpecError(f"'{part}' in '{text}' is not of the form key=value.")
        if key in dict(pairs):
            raise SpecError(f"'{text}' sets '{key}' twice.")
        pairs.append((key, value))
    return family.strip(), variant.strip() or None, pairs


def _nearest_key(key: str, keys: list[str]) -> str:
    """By spelling, else by meaning: every basis has a key of its own that says how many functions there are."""
    close = nearest(key, keys, cutoff=0.6)
    meant = next((other for word in _MEANT.get(key, ()) for other in keys if other == word), "")
    return close or (f"Did you mean '{meant}'? " if meant else "")


def read_options(text: str, pairs: list[tuple[str, str]], keys: Mapping[str, Key]) -> dict[str, Any]:
    """Convert (key, text) pairs by a table of keys, in the table's order.

    Raises
    ------
    SpecError
        An unknown key, or a value that its key does not allow.
    """
    for key, value in pairs:
        if key not in keys:
            raise SpecError(f"'{text}' has an unknown key '{key}'. {_nearest_key(key, list(keys))}It takes: {', '.join(keys)}.")
        try:
            keys[key].convert(value)
        except SpecError:  # says more than that the value is not allowed
            raise
        except ValueError:
            raise SpecError(f"'{key}={value}' in '{text}' is not valid: {key} takes {keys[key].allowed}.") from None
    given = dict(pairs)
    return {key: keys[key].convert(given[key]) for key in keys if key in given}
