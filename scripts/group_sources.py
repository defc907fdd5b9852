#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""group_sources.py COMPILE_COMMANDS OUT FILE...: writes files that include the given ones together, for clang-tidy.

clang-tidy spends nine tenths of its time in the headers of the standard library, once for each file that it is given.
Files of one folder with equal compile commands form groups of at most ten; each group becomes a file in the folder OUT,
whose compile_commands.json says how to compile it. A group that does not compile as one file is halved. A file that
Highway includes once for each instruction set stays alone.

Prints the files to give to clang-tidy, one per line.
"""

import json
import shlex
import subprocess
import sys
from pathlib import Path

MOST_FILES = 10


def flags_of(entry):
    """The compile command of an entry without its input, its output and a launcher such as ccache."""
    words = shlex.split(entry["command"])
    while "++" not in Path(words[0]).name:
        del words[0]
    for option in ("-o", "-c"):
        at = words.index(option)
        del words[at : at + 2]
    return words


def compiles(flags, directory, file):
    return subprocess.run([*flags, "-fsyntax-only", file], cwd=directory, capture_output=True).returncode == 0


def main(database, out, files):
    entries = {entry["file"]: entry for entry in json.loads(Path(database).read_text())}
    groups = {}
    for file in files:
        alone = file if "hwy/foreach_target.h" in Path(file).read_text() else ""
        groups.setdefault((Path(file).parent, tuple(flags_of(entries[file])), alone), []).append(file)

    out = Path(out).resolve()
    out.mkdir(exist_ok=True)
    commands = []

    def add(flags, part):
        """Adds the files of `part` as one file if they compile as one, else in halves."""
        directory = entries[part[0]]["directory"]
        file = part[0]
        if len(part) > 1:
            file = str(out / f"group_{len(commands)}.cpp")
            Path(file).write_text("".join(f'#include "{source}"\n' for source in part))
            if not compiles(flags, directory, file):
                half = len(part) // 2
                add(flags, part[:half])
                add(flags, part[half:])
                return
        commands.append({"file": file, "directory": directory, "arguments": [*flags, "-c", file]})

    for (_, flags, _), group in groups.items():
        for begin in range(0, len(group), MOST_FILES):
            add(flags, group[begin : begin + MOST_FILES])
    (out / "compile_commands.json").write_text(json.dumps(commands, indent=1))
    print(*(command["file"] for command in commands), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
