"""What a text that is no spec was probably meant to be, for the sentence that refuses it."""

from __future__ import annotations

import re
from collections.abc import Callable

from taafs_plugins.activations.spec import Spec, SpecError

_SEPARATORS = re.compile(r"[\s,;|()\[\]{}\"'`]+")
LONGEST = 200  # what is longer was not typed
DEFAULT_FAMILY = "taafs"


def repaired(text: str, parse: Callable[[str], Spec]) -> str:
    """The nearest text that is a spec, or an empty string: quotes, blanks, semicolons, brackets and forgotten colons are mended.

    Parameters
    ----------
    text : that ``parse`` refused
    parse : reads a spec or raises :class:`SpecError`
    """
    if len(text) > LONGEST:
        return ""
    plain = re.sub(r"\s*([=:])[\s=:]*", r"\1", text.strip().lower())
    words = [word for word in _SEPARATORS.split(plain) if word]
    if not words or plain.endswith(":"):
        return ""
    for first in (words[0], re.sub(r"^(\w+)[-=/.](?=[a-z])", r"\1:", words[0]), f"{DEFAULT_FAMILY}:{words[0]}"):
        head, _, tail = first.replace("=", ":").partition(":")
        variant, *loose = tail.split(":")
        rest = [*loose, *words[1:]]
        if not variant and rest and not re.search("[=:]", rest[0]):
            variant, *rest = rest
        candidate = ",".join([f"{head}:{variant}" if variant else head, *(word.replace(":", "=", 1) for word in rest)])
        if candidate != text and _is_spec(candidate, parse):
            return candidate
    return ""


def _is_spec(text: str, parse: Callable[[str], Spec]) -> bool:
    try:
        parse(text)
    except SpecError:
        return False
    return True
