"""What all programs share: flags, exit codes, one-line errors, progress bars.

Exit codes: 0 done, 1 failed (one line `error: …` on stderr), 2 bad usage.
"""

import contextlib
import errno
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

# Chatter of the native libraries would drown the progress bar; what matters comes as
# an exception.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from absl import app, flags, logging  # noqa: E402

from dermgan_tf.errors import InputError  # noqa: E402

MAX_ERROR = 600  # characters; some native errors print whole tensors

# Flags that name files and folders, beside those whose names end so.
PATH_ENDINGS = ("_dir", "_file")
PATHS = (
    *("annotations", "label_map", "dedupe", "plan", "output", "train_counts"),
    *("saved_model", "more_real", "embedding_weights", "beam_pipeline_options"),
    *("inverse_saved_model", "classifier"),
)
NAMES_OR_PATHS = ("weights", "embedding")
HIDDEN = "(a path)"


def run(define_flags: Callable[[], None], main: Callable[[Any], None]) -> None:
    """Runs a program and exits the process.

    Args:
        define_flags: defines the program's own flags. Called here and not on import,
            so that two programs can be imported together.
        main: the program's work. Gets the parsed flags as an object with one attribute
            a flag.
    """
    flags.DEFINE_bool("debug", False, "Show the traceback of an error.")
    define_flags()

    def guarded(argv: list[str]) -> int:
        if len(argv) > 1:
            _usage_error(
                f"unexpected argument {argv[1]!r}; flags look like --name=value"
            )
        logging.set_verbosity(logging.INFO if flags.FLAGS.debug else logging.WARNING)
        # A polite kill ends like Ctrl-C, so that what is open is closed and cleared.
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            main(flags.FLAGS)
            sys.stdout.flush()
        except KeyboardInterrupt as stop:
            return _fail(stop, "interrupted; the same command starts it again")
        except InputError as error:
            return _fail(error, str(error))
        except OSError as error:
            return _fail(error, _describe_os_error(error))
        except MemoryError as error:
            return _fail(error, f"out of memory {error}".strip())
        except Exception as error:
            return _fail(
                error, f"{type(error).__name__}: {error} (--debug shows where)"
            )
        return 0

    app.run(guarded, flags_parser=lambda argv: _parse(argv, main))


def run_command(
    commands: Mapping[str, tuple[Callable[[], None], Callable[[Any], None]]],
) -> None:
    """Runs the command that the first argument names, as `run` does a program.

    Args:
        commands: name -> (define_flags, main).
    """
    given = sys.argv[1] if len(sys.argv) > 1 else ""
    if given in HELP_FLAGS:
        main = next(iter(commands.values()))[1]
        print((sys.modules[main.__module__].__doc__ or "").strip())
        print(f"\nFlags: {' | '.join(commands)}, then --help.")
        sys.exit(0)
    if given not in commands:
        what = f"unknown command {given!r}" if given else "no command"
        _usage_error(f"{what}; want one of {', '.join(commands)}")
    del sys.argv[1]
    run(*commands[given])


def load_tensorflow() -> None:
    """Imports TensorFlow without its chatter, which no setting turns off.

    Call it before anything that imports TensorFlow. Should the import fail, or with
    --debug, all that was said is shown.
    """
    with _native_stderr_aside(shown=flags.FLAGS.debug):
        import tensorflow as tf

        tf.config.list_physical_devices()  # looks for GPUs, and tells of it


def progress(iterable: Iterable, total: int | None = None, desc: str = "") -> Iterable:
    """A progress bar on stderr with the time left; see `dermgan_tf.progress`."""
    from tqdm import tqdm

    return tqdm(iterable, total=total, desc=desc, file=sys.stderr, dynamic_ncols=True)


class StopRequest:
    """Turns the first Ctrl-C or polite kill into a request to save and stop.

    The second one interrupts at once.
    """

    def __init__(self):
        self.signal_name = ""
        self._event = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._request)

    def requested(self) -> bool:
        return self._event.is_set()

    def _request(self, number, frame):
        if self._event.is_set():
            raise KeyboardInterrupt
        self.signal_name = signal.Signals(number).name
        self._event.set()


def flag_values(values: Any) -> dict[str, Any]:
    """The program's own flags and values, for run.json, which may be passed on.

    No path is told: files and folders often have patients' names.
    """
    defined = values.flags_by_module_dict()
    return {
        flag.name: _without_paths(flag.name, flag.value)
        for module in _own_modules()
        for flag in defined[module]
        if flag.name != "debug"
    }


def _without_paths(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_without_paths(name, one) for one in value]
    if not isinstance(value, str) or not value:
        return value
    if name in ("arm", "synthetic"):  # NAME=PATH,PATH,… and NAME=PATH
        return f"{value.partition('=')[0]}={HIDDEN}"
    if name in NAMES_OR_PATHS:
        return HIDDEN if os.sep in value or os.path.exists(value) else value
    if name in PATHS or name.endswith(PATH_ENDINGS):
        return HIDDEN
    return value


@contextlib.contextmanager
def _native_stderr_aside(shown: bool) -> Iterator[None]:
    """Holds back what native code writes to file descriptor 2."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            yield
        except BaseException:
            shown = True
            raise
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            if shown:
                aside.seek(0)
                sys.stderr.write(aside.read().decode(errors="replace"))


HELP_FLAGS = {
    f"{dashes}{name}{value}"
    for dashes in ("-", "--")
    for name in ("h", "help")
    for value in ("", "=true")
}


def _parse(argv: list[str], main: Callable) -> list[str]:
    # absl's own help knows the program only when it is run by its file.
    if HELP_FLAGS & set(argv[1:]):
        print((sys.modules[main.__module__].__doc__ or "").strip())
        for module in _own_modules():
            print(flags.FLAGS.module_help(module))
        print("--flagfile=FILE reads flags from a file, one a line.")
        sys.exit(0)
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        _usage_error(str(error))
    except SystemExit:  # --helpfull prints and leaves with 1
        sys.exit(0)


def _own_modules() -> list[str]:
    """The modules, by absl's names, that define this program's flags."""
    modules = [
        module
        for module in flags.FLAGS.flags_by_module_dict()
        if module.startswith("pipelines.") or module == sys.argv[0]
    ]
    return sorted(modules, key=lambda module: module == __name__)  # --debug last


def _usage_error(message: str) -> None:
    message = message.removeprefix("ERROR:: ")  # absl's own, of a missing flagfile
    print(f"error: {_one_line(message)} (--help lists the flags)", file=sys.stderr)
    sys.exit(2)


def _interrupt(signum: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _fail(error: BaseException, message: str) -> int:
    if flags.FLAGS.debug:
        traceback.print_exception(error)
    print(f"error: {_one_line(message)}", file=sys.stderr)
    return 1


def _describe_os_error(error: OSError) -> str:
    cause = error.strerror or str(error) or type(error).__name__
    where = f"{error.filename}: " if error.filename else ""
    todo = "; free some space and start again" if error.errno == errno.ENOSPC else ""
    return f"{where}{cause}{todo}"


def _one_line(message: str) -> str:
    line = " ".join(message.split())
    return line if len(line) <= MAX_ERROR else f"{line[:MAX_ERROR]} …"
