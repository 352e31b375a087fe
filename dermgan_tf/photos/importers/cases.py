"""Which case a photo is of, where a format says nothing but file names."""

import posixpath
import re
from collections.abc import Callable

from dermgan_tf.errors import InputError


def case_finder(pattern: str) -> Callable[[str], str]:
    """Finds the case in a photo's path.

    Args:
        pattern: str. Regular expression, looked for in the photo's name without
            extension, or, if it has a `/`, in its path below the folder of photos. The
            case is the group named `case`, else the first group, else the whole match.
            "" makes every photo a case of its own, named like its path.

    Returns:
        A function of a path relative to the folder of photos (str, with `/`, with
        extension) that gives the case, or raises InputError if there is none.

    Raises:
        InputError: if the pattern is no regular expression.
    """
    if not pattern:
        return lambda image: posixpath.splitext(image)[0]
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(
            f"case pattern {pattern!r} is no regular expression: {error}"
        ) from None
    group = "case" if "case" in compiled.groupindex else min(compiled.groups, 1)

    def find_case(image: str) -> str:
        path = posixpath.splitext(image)[0]
        match = compiled.search(path if "/" in pattern else posixpath.basename(path))
        if not match or not match[group]:
            raise InputError(f"has no case in its name by the pattern {pattern!r}")
        return match[group]

    return find_case
