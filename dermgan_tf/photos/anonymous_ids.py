"""Case and image ids that tell nothing of the patient but to those who know a salt.

Ids are HMAC-SHA256 (RFC 2104) under the salt. A hash without one would not do: who has
a list of patients' names can hash them all and compare.
"""

import hashlib
import hmac
import json
import os
import stat
from collections.abc import Mapping

from dermgan_tf.errors import InputError

SALT_VARIABLE = "DERMGAN_ID_SALT"
MIN_SALT = 16  # bytes: shorter ones can be tried through
_MAX_SALT = 4096  # bytes: a longer file is hardly a salt
_DIGITS = 16  # hexadecimal: two of a million cases meet by chance once in 37 million


def read_salt(
    path: str | os.PathLike | None = None, environment: Mapping[str, str] = os.environ
) -> bytes:
    """Reads the salt from a file or, without one, from the variable DERMGAN_ID_SALT.

    White space around it is left out, so that both may hold the same.

    Raises:
        InputError: if there is none, it cannot be read, or is under 16 bytes. No
            message shows a part of it.
    """
    how = 'python -c "import secrets; print(secrets.token_hex(32))" > FILE makes one'
    if path:
        salt, where = _file_content(path), os.fspath(path)
    elif SALT_VARIABLE in environment:
        salt, where = os.fsencode(environment[SALT_VARIABLE]), SALT_VARIABLE
    else:
        raise InputError(
            "ids are anonymized with a secret salt: name its file by id_salt_file, "
            f"or set {SALT_VARIABLE}; {how}"
        )
    salt = salt.strip()
    if len(salt) < MIN_SALT:
        raise InputError(
            f"the salt in {where} has {len(salt)} bytes, want {MIN_SALT} or more: a "
            f"short one can be guessed; {how}"
        )
    return salt


def anonymous_case_id(case_id: str, salt: bytes) -> str:
    """16 hexadecimal digits, the same for a case in every program with this salt."""
    return _id(salt, "case", case_id)


def anonymous_image_id(case_id: str, image: str, salt: bytes) -> str:
    """16 hexadecimal digits, the same for a photo in every program with this salt.

    Args:
        case_id: str. Its case, as the annotations have it.
        image: str. Its path, as the annotations have it.
        salt: see `read_salt`.
    """
    return _id(salt, "image", case_id, image)


def _id(salt: bytes, *parts: str) -> str:
    message = json.dumps(parts).encode()  # no two lists of parts look the same
    return hmac.new(salt, message, hashlib.sha256).hexdigest()[:_DIGITS]


def _file_content(path: str | os.PathLike) -> bytes:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise InputError(f"the salt's file {os.fspath(path)} is no regular file")
        with open(path, "rb") as file:
            content = file.read(_MAX_SALT + 1)
    except OSError as error:
        raise InputError(
            f"cannot read the salt's file {os.fspath(path)}: {error.strerror}"
        ) from None
    if len(content) > _MAX_SALT:
        raise InputError(
            f"the salt's file {os.fspath(path)} has more than {_MAX_SALT} bytes: is it "
            "the right one?"
        )
    return content
