# SPDX-License-Identifier: Apache-2.0
"""Fetches ordinary text in three domains from Debian packages, for calibration and for evaluation.

    python3 lab/texts.py texts

writes texts/calibration and texts/test with a file for each domain, and texts/sources.txt, which names packages,
versions and licences. No file is in both; `code` is in the test alone. Needs apt-get and dpkg, and no privileges.

| domain | package | calibration | test |
|---|---|---|---|
| prose | r-cran-janeaustenr (public domain) | Northanger Abbey, Persuasion | Emma, Sense and Sensibility |
| documentation | perl-doc (GPL-1+ or Artistic) | perlre, perlop, perlunicode, ... | perlfunc, perlguts, perlipc, ... |
| code | libpython3.11-stdlib (PSF) | none | asyncio, dataclasses, ... |
"""

from __future__ import annotations

import argparse
import pathlib
import struct
import subprocess
import sys
import tempfile
import zlib

PACKAGES = {
    "r-cran-janeaustenr": "public domain",
    "perl-doc": "GPL-1+ or Artistic",
    "libpython3.11-stdlib": "PSF-2",
}
NOVELS = {"calibration": ("NORTHANGER ABBEY", "PERSUASION"), "test": ("EMMA", "SENSE AND SENSIBILITY")}
PODS = {
    "calibration": "perlre perlop perlunicode perlmod perlobj perlsub perlsyn perldata perlretut perlfaq5 perlfaq9",
    "test": "perlfunc perlguts perlipc perldebguts perlxs perlport perlreguts perlfaq4 perlfaq6 perlthrtut",
}
MODULES = (
    "asyncio/base_events asyncio/tasks dataclasses doctest ftplib imaplib mailbox pickletools shutil statistics tarfile"
)


def fetch(package: str, folder: pathlib.Path) -> str:
    """Unpacks a package into a folder. Returns its file's name, which tells the version."""
    command = ["apt-get", "download", "-q", package]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    file = next(folder.glob(f"{package}_*.deb"))
    subprocess.run(["dpkg", "-x", file, folder], check=True)
    return file.name


def novels(root: pathlib.Path) -> dict[str, str]:
    """The novels of the R package by title. Each is one character vector, in R's serialisation, compressed."""
    data = (root / "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb").read_bytes()
    found = {}
    while data:
        unzip = zlib.decompressobj()
        lines = strings(unzip.decompress(data[4:]))  # behind the length
        data = unzip.unused_data
        found[lines[0].upper()] = "\n".join(lines)
    return found


def strings(serialised: bytes) -> list[str]:
    """The elements of an R character vector (format 3, big-endian)."""
    at = serialised.index(b"UTF-8") + 5
    count = struct.unpack_from(">i", serialised, at + 4)[0]
    at += 8
    lines = []
    for _ in range(count):
        size = struct.unpack_from(">i", serialised, at + 4)[0]
        lines.append(serialised[at + 8 : at + 8 + size].decode("utf-8", "replace"))
        at += 8 + size
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as temporary:
        root = pathlib.Path(temporary)
        sources = [f"{fetch(package, root)}: {licence}" for package, licence in PACKAGES.items()]
        pods, library = root / "usr/share/perl/5.36.0/pod", root / "usr/lib/python3.11"
        books = novels(root)
        for split in ("calibration", "test"):
            texts = {
                "prose": [books[title] for title in NOVELS[split]],
                "documentation": [(pods / f"{name}.pod").read_text("utf-8", "replace") for name in PODS[split].split()],
            }
            if split == "test":
                texts["code"] = [(library / f"{name}.py").read_text("utf-8") for name in MODULES.split()]
            folder = out / split
            folder.mkdir(parents=True, exist_ok=True)
            for domain, parts in texts.items():
                (folder / f"{domain}.txt").write_text("\n".join(parts), encoding="utf-8")
    (out / "sources.txt").write_text("\n".join(sources) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
