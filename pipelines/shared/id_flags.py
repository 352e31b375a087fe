"""Flags of programs that can put hashes in the place of case and photo ids."""

from absl import flags


def define_id_flags(where):
    """Defines --anonymize_ids and --id_salt_file.

    Args:
        where: str. What the hashes are put into, for the help text.
    """
    flags.DEFINE_bool(
        "anonymize_ids",
        False,
        f"Put hashes of case and photo ids into {where}, under a secret salt: the "
        "content of --id_salt_file or the environment variable DERMGAN_ID_SALT, 16 "
        "bytes or more. The same salt gives the same ids; splits stay as they are.",
    )
    flags.DEFINE_string(
        "id_salt_file", None, "File of the salt. It is not copied to any output."
    )
    flags.register_multi_flags_validator(
        ["anonymize_ids", "id_salt_file"],
        lambda values: values["anonymize_ids"] or not values["id_salt_file"],
        "--id_salt_file is for --anonymize_ids",
    )


def id_salt(args):
    """The salt as bytes; None where ids stay as they are."""
    from dermgan_tf.photos.anonymous_ids import read_salt

    return read_salt(args.id_salt_file) if args.anonymize_ids else None
