"""The results of all measurements so far, in one JSON file."""

import json
import os
import pathlib
import time
from collections.abc import Mapping
from typing import Any

from benchmarks.groups import Group
from benchmarks.machine import describe_machine
from dermgan_tf.errors import InputError
from dermgan_tf.output_folder import atomic_write


class Results:
    """Groups of contenders measured together, kept in a file.

    Args:
        path: the file; made on the first `add`.

    Raises:
        InputError: if the file is damaged.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = pathlib.Path(path)
        self.environment = describe_machine()
        self.groups = []
        if self.path.exists():
            try:
                content = json.loads(self.path.read_text("utf-8"))
                self.environment, self.groups = (
                    content["environment"],
                    content["groups"],
                )
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f"{self.path} is damaged ({error!r}); remove it"
                ) from error

    def require_this_machine(self) -> None:
        """Raises InputError if what there is was measured elsewhere.

        Figures of two machines, or of two versions, do not belong on one page.
        """
        here = describe_machine()
        for name in {**self.environment, **here}:
            there, now = self.environment.get(name), here.get(name)
            if there != now:
                raise InputError(
                    f"{self.path} was measured with {name} {there}, here it is {now}; "
                    "name another --results file"
                )

    def add(self, group: Group, measured: Mapping, command: str) -> dict[str, Any]:
        """Keeps a group, in place of an older one of the same task and case.

        Args:
            group: what was measured.
            measured: its results by contender, as from `interleave.measure`.
            command: the command line that measured it.

        Returns:
            The group as kept: a dict of "task", "case", "unit", "date", "command" and
            "contenders".
        """
        kept = {
            "task": group.task,
            "case": group.case,
            "unit": group.unit,
            "date": time.strftime("%Y-%m-%d"),
            "command": command,
            "contenders": dict(measured),
        }
        others = [
            g for g in self.groups if (g["task"], g["case"]) != (group.task, group.case)
        ]
        self.groups = [*others, kept]
        content = {"environment": self.environment, "groups": self.groups}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(self.path, (json.dumps(content, indent=1) + "\n").encode())
        return kept
