"""The flags of programs whose work Apache Beam can share out, and their output."""

import contextlib

from absl import flags


def define_flags():
    flags.DEFINE_string(
        "beam_runner",
        None,
        "Apache Beam runner to do the work: DirectRunner (--workers processes of this "
        "machine), DataflowRunner, FlinkRunner, SparkRunner, PortableRunner. Paths may "
        "then be gs://, s3:// or az://; docs/beam.md. Default: no Beam.",
    )
    flags.DEFINE_multi_string(
        "beam_pipeline_options",
        [],
        "Options of Beam and its runner: key=value,key=value,flag. May be repeated; a "
        "single one may be written with its dashes: --environment_config=….",
    )
    flags.register_multi_flags_validator(
        ["beam_runner", "beam_pipeline_options"],
        lambda values: values["beam_runner"] or not values["beam_pipeline_options"],
        "--beam_pipeline_options are for --beam_runner",
    )


@contextlib.contextmanager
def output(args, manifest, inputs, workers=None):
    """Yields (folder, BeamRun): where small files go, and what writes the others.

    The second is None without --beam_runner.
    """
    from dermgan_tf.errors import InputError
    from dermgan_tf.output_folder import output_folder
    from dermgan_tf.remote_storage import (
        is_remote,
        remote_output_folder,
        without_file_scheme,
    )

    path, *inputs = map(without_file_scheme, (args.output_dir, *inputs))
    if not args.beam_runner:
        for given in (path, *inputs):
            if is_remote(given):
                raise InputError(f"{given}: this storage needs --beam_runner")
        with output_folder(path, args.overwrite, inputs) as folder:
            yield folder, None
        return
    from dermgan_tf.beam_runs import BeamRun, parse_options

    options = parse_options(args.beam_pipeline_options)
    with contextlib.ExitStack() as stack:
        if is_remote(path):
            folder, large = stack.enter_context(
                remote_output_folder(path, args.overwrite, manifest, inputs)
            )
        else:
            inputs = [given for given in inputs if not is_remote(given)]
            large = folder = stack.enter_context(
                output_folder(path, args.overwrite, inputs)
            )
        yield folder, BeamRun(args.beam_runner, str(large), options, workers)
