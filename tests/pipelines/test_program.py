"""Exit codes and error lines, seen from outside the process."""

import ast
import subprocess
import sys
import textwrap

import pytest

PROGRAM = textwrap.dedent(
    """
    '''A program for tests.'''
    from absl import flags
    from dermgan_tf.errors import InputError
    from pipelines.shared import program
    def define_flags():
        flags.DEFINE_integer("number", 1, "A number.", lower_bound=0)
        flags.DEFINE_string("fail", "", "How to fail.")
        flags.DEFINE_string("data_dir", None, "A folder.")
        flags.DEFINE_string("weights", "imagenet", "A name or a file.")
        flags.DEFINE_list("gan_data_dir", [], "Folders.")
        flags.DEFINE_multi_string("arm", [], "NAME=FILE,FILE")
        flags.DEFINE_string("condition", "SK/ISK", "No path.")
    def main(args):
        if args.fail == "input":
            raise InputError("photos/1.jpg: is empty")
        if args.fail == "disk":
            raise OSError(28, "No space left on device", "out/file")
        if args.fail == "defect":
            raise KeyError("a\\nb")
        print("number", args.number, program.flag_values(args))
    program.run(define_flags, main)
    """
)


def run(*flags):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *flags], capture_output=True, text=True
    )


def test_done():
    done = run("--number=3")
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith("number 3")


def test_flagfile(tmp_path):
    (tmp_path / "flags").write_text("--number=7\n")
    assert "number 7" in run(f"--flagfile={tmp_path / 'flags'}").stdout


def test_flags_are_recorded_without_paths(tmp_path):
    folder = tmp_path / "of Roe, Jane"
    folder.mkdir()
    done = run(
        f"--data_dir={folder}/pairs/",
        f"--weights={folder}/w.h5",
        "--gan_data_dir=/Roe/a,b/c/",
        "--arm=base=/Roe/1/x.csv,Roe/2/y.csv",
        "--arm=other=z.csv",
    )
    told = ast.literal_eval(done.stdout.split(maxsplit=2)[2])
    assert told == {
        "number": 1,
        "fail": "",
        "data_dir": "(a path)",
        "weights": "(a path)",
        "gan_data_dir": ["(a path)", "(a path)"],
        "arm": ["base=(a path)", "other=(a path)"],
        "condition": "SK/ISK",
    }
    assert "'weights': 'imagenet'" in run().stdout


@pytest.mark.parametrize(
    "fail, line",
    [
        ("input", "error: photos/1.jpg: is empty"),
        ("disk", "error: out/file: No space left on device; free some space"),
        ("defect", "error: KeyError:"),
    ],
)
def test_failure_is_one_line(fail, line):
    done = run(f"--fail={fail}")
    assert done.returncode == 1
    assert done.stderr.startswith(line) and done.stderr.count("\n") == 1
    assert "Traceback" in run(f"--fail={fail}", "--debug").stderr


@pytest.mark.parametrize("flag", ["--nonsense", "--number=x", "--number=-1", "word"])
def test_bad_usage(flag):
    done = run(flag)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_help_tells_what_it_does_and_its_flags():
    done = run("--help")
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith("A program for tests.")
    assert "--number: A number." in done.stdout and "--[no]debug" in done.stdout


def test_help_of_a_console_command():
    """There the main module is the command's script, not the program."""
    code = "from pipelines.generate import run; run()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--help"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert "--saved_model" in done.stdout and "--sweep" in done.stdout
