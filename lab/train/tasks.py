# SPDX-License-Identifier: Apache-2.0
r"""Recall tasks hidden in ordinary text: the normative description of every format.

Status: stable. A change here changes the trained model and every other implementation of these formats.

Everything is bytes. An example is a list of turns; a turn is a pair (prompt, answer). The model reads

    BOS prompt_0 answer_0 prompt_1 answer_1 ...

where BOS is token 256 and every byte is its own token. prompt_0 holds the filler text with the facts in it and the
first question; later prompts hold one further question each. An answer is right when every one of its bytes is the
most likely next byte, given the true bytes before it. `length` is the number of bytes of the whole example, answers
included and BOS not; the filler is cut so that it comes out exactly.

Ingredients
    word    a line of `assets/text/words.txt`: 4 to 7 letters a-z, of the same alphabet as the filler
    number  an integer drawn uniformly from 1000..9999, written in decimal
    filler  a contiguous piece of ordinary text that begins at the start of a line
No two facts of one example share a key word; value words are drawn independently, repetitions allowed.

Facts and questions. A fact is inserted into the filler; `inline` facts become `fact + " "`, `line` facts become
`"\n" + fact + "\n"`. A question is the bytes `"\nQ: "` followed by the stem. The answer includes its last byte
(`.`, `;` or a newline), which is the byte that ends an answer when a model generates freely.

    needle    one fact, one question. Four templates, chosen uniformly:
              name    place   fact                          stem                   answer
              code    inline  The code of falcon is 4821.   The code of falcon is  4821.
              likes   inline  The falcon likes amber.       The falcon likes       amber.
              port    line    falcon_port = 4821            falcon_port =          4821\n
              define  line    #define falcon_id 4821        #define falcon_id      4821\n
              Every stem ends with one space.
    multi     `max(2, min(8, length // 64))` facts of the one template chosen for the example, different keys.
              One of them is asked, chosen uniformly (`questions=n` asks n different ones, in random order).
              Length 128 or more.
    tracking  chains of `move` lines. A chain takes 3 different letters a-z (2 if length < 128): an integer from 10..99
              moves to the first, each letter to the next; lines keep their order. One chain if length < 128, else two
              with different letters and integers, placed independently. Asked is where the integer of the first chain
              has been, in order: every letter leads to the next (`questions=2` asks for both chains, in random order).
              lines     `move 41 to k`, `move k to c`, `move c to x`     (each a `line` fact)
              stem      `move 41 to `                                    answer `k c x.`
    values    two `line` facts of one key and different numbers, placed independently; both are asked, in the order in
              which they stand. Length 128 or more.
              facts     `falcon_port = 4821`, `falcon_port = 1204`
              stem      `all falcon_port: `                        answer `4821 1204\n`
    common    `line` facts `vote: ` and a word, placed independently: one word three times, other words once, two of
              them if length < 256, else five. The word that stands most often is asked. Length 128 or more.
              fact      `vote: amber`
              stem      `most votes: `                             answer `amber\n`
    decoys    a needle among near-duplicates that must not pass for it: two facts of its template whose keys differ from
              its key in one letter, and two facts about its key in other templates, placed independently. The needle is
              asked. Length 192 or more.
    copy      one `line` fact, `list: ` and `3 if length < 128 else 6` words separated by one space. The stem
              is the line up to and including the space after the first word; the answer is the rest of the line and
              a newline. Length 96 or more.
              fact      `list: amber stone walk kept river often`
              stem      `list: amber `                             answer `stone walk kept river often\n`
    map       one `line` fact, `map:` followed by `max(2, min(8, length // 64))` entries ` word=number;` with different
              words and numbers from 10..99. One entry is asked (`questions=n` asks n different ones).
              fact      `map: oak=12; river=45; stone=33;`
              stem      `river=`                                   answer `45;`

Placement. For every chain (a fact alone is a chain of one) independent uniform positions in the filler are drawn and
sorted; a position whose byte before it is neither space nor newline is moved forward to the first that has one,
or to the end of the filler; position 0 stays. Facts that meet at one position follow one another in the order chosen
for the chains, which is random.

One literal example: needle, template `port`, length 164 (`\n` are newlines):

    prompt  `The list methods make it very easy to use a list as a stack, where the last \nfalcon_port = 4821\nelement
            added is the first element retrieved.\nQ: falcon_port = `
    answer  `4821\n`
"""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_lowercase
from typing import Callable, Sequence

import numpy as np

BOS = 256
VOCAB_SIZE = 264
MARKER = b"\nQ: "
TASKS = ("needle", "multi", "tracking", "copy", "map", "values", "common", "decoys")
MIN_LENGTH = {
    "needle": 64,
    "multi": 128,
    "tracking": 64,
    "copy": 96,
    "map": 64,
    "values": 128,
    "common": 128,
    "decoys": 192,
}


@dataclass(frozen=True)
class Turn:
    """A prompt and the answer the model owes."""

    prompt: bytes
    answer: bytes


@dataclass(frozen=True)
class Piece:
    """The part of an example that one task writes: chains of facts, and (stem, answer) questions."""

    chains: list[list[bytes]]
    questions: list[tuple[bytes, bytes]]

    @property
    def size(self) -> int:
        """Bytes this piece takes, its questions' markers included."""
        facts = sum(len(fact) for chain in self.chains for fact in chain)
        return facts + sum(len(MARKER) + len(stem) + len(answer) for stem, answer in self.questions)


@dataclass(frozen=True)
class Template:
    """A fact about a key word, as `before + key + after + value + end`."""

    before: str
    after: str
    end: str
    inline: bool
    number: bool


TEMPLATES = (
    Template("The code of ", " is ", ".", inline=True, number=True),
    Template("The ", " likes ", ".", inline=True, number=False),
    Template("", "_port = ", "\n", inline=False, number=True),
    Template("#define ", "_id ", "\n", inline=False, number=True),
)


class Source:
    """Draws the ingredients of one example; keys, letters and the integers of chains are handed out once only."""

    def __init__(self, rng: np.random.Generator, words: Sequence[str]):
        self.rng = rng
        self._words = words
        self._used: set[str] = set()
        self._letters = list(rng.permutation(list(ascii_lowercase)))
        self._integers = list(rng.permutation(np.arange(10, 100)))

    def word(self) -> str:
        return self._words[self.rng.integers(len(self._words))]

    def key(self) -> str:
        while (word := self.word()) in self._used:
            pass
        self._used.add(word)
        return word

    def near(self, key: str) -> str:
        """A key that differs from `key` in one letter."""
        while True:
            at = int(self.rng.integers(len(key)))
            near = key[:at] + ascii_lowercase[self.rng.integers(26)] + key[at + 1 :]
            if near not in self._used:
                self._used.add(near)
                return near

    def integer(self) -> str:
        return str(self._integers.pop())

    def letters(self, count: int) -> list[str]:
        return [self._letters.pop() for _ in range(count)]

    def number(self, low: int, high: int) -> str:
        return str(self.rng.integers(low, high + 1))


def _line(text: str) -> bytes:
    return f"\n{text}\n".encode()


def _fact(template: Template, source: Source, key: str | None = None) -> tuple[bytes, tuple[bytes, bytes]]:
    stem = template.before + (key or source.key()) + template.after
    value = source.number(1000, 9999) if template.number else source.word()
    answer = value + template.end
    fact = f"{stem}{answer} ".encode() if template.inline else f"\n{stem}{answer}".encode()
    return fact, (stem.encode(), answer.encode())


def needle(source: Source, length: int, questions: int = 1) -> Piece:
    """One fact, asked once."""
    del length, questions
    fact, question = _fact(TEMPLATES[source.rng.integers(len(TEMPLATES))], source)
    return Piece([[fact]], [question])


def multi(source: Source, length: int, questions: int = 1) -> Piece:
    """Several facts that only their keys tell apart."""
    template = TEMPLATES[source.rng.integers(len(TEMPLATES))]
    facts, asked = zip(*(_fact(template, source) for _ in range(_entries(length))))
    return Piece([[fact] for fact in facts], _pick(source, asked, questions))


def tracking(source: Source, length: int, questions: int = 1) -> Piece:
    """A value handed from variable to variable, beside a chain of another value."""
    short = length < 128
    chains, asked = [], []
    for _ in range(1 if short else 2):
        letters, value = source.letters(2 if short else 3), source.integer()
        chains.append([_line(f"move {origin} to {name}") for name, origin in zip(letters, [value, *letters])])
        asked.append((f"move {value} to ".encode(), f"{' '.join(letters)}.".encode()))
    return Piece(chains, asked[:1] if questions == 1 else _pick(source, asked, questions))


def values(source: Source, length: int, questions: int = 1) -> Piece:
    """A key with two values, both asked."""
    del length, questions
    key, first, second = source.key(), source.number(1000, 9999), source.number(1000, 9999)
    while second == first:
        second = source.number(1000, 9999)
    facts = [_line(f"{key}_port = {value}") for value in (first, second)]
    return Piece([facts], [(f"all {key}_port: ".encode(), f"{first} {second}\n".encode())])


def common(source: Source, length: int, questions: int = 1) -> Piece:
    """The most frequent of several words."""
    del questions
    winner = source.key()
    votes = [winner] * 3 + [source.key() for _ in range(2 if length < 256 else 5)]
    return Piece([[_line(f"vote: {word}")] for word in votes], [(b"most votes: ", f"{winner}\n".encode())])


def decoys(source: Source, length: int, questions: int = 1) -> Piece:
    """A needle among near-duplicates."""
    del length, questions
    chosen, *others = (TEMPLATES[i] for i in source.rng.permutation(len(TEMPLATES)))
    key = source.key()
    fact, question = _fact(chosen, source, key)
    near = [_fact(chosen, source, source.near(key))[0] for _ in range(2)]
    about_key = [_fact(template, source, key)[0] for template in others[:2]]
    return Piece([[text] for text in (fact, *near, *about_key)], [question])


def copy(source: Source, length: int, questions: int = 1) -> Piece:
    """A line of unrelated words to repeat."""
    del questions
    words = [source.key()] + [source.word() for _ in range(2 if length < 128 else 5)]
    stem, answer = f"list: {words[0]} ", " ".join(words[1:]) + "\n"
    return Piece([[f"\n{stem}{answer}".encode()]], [(stem.encode(), answer.encode())])


def map_(source: Source, length: int, questions: int = 1) -> Piece:
    """A dictionary on one line, asked by key."""
    entries = [(f"{source.key()}=".encode(), f"{source.number(10, 99)};".encode()) for _ in range(_entries(length))]
    fact = b"\nmap:" + b"".join(b" " + key + value for key, value in entries) + b"\n"
    return Piece([[fact]], _pick(source, entries, questions))


MAKERS: dict[str, Callable[[Source, int, int], Piece]] = {
    "needle": needle,
    "multi": multi,
    "tracking": tracking,
    "copy": copy,
    "map": map_,
    "values": values,
    "common": common,
    "decoys": decoys,
}


def _entries(length: int) -> int:
    return max(2, min(8, length // 64))


def _pick(source: Source, asked: Sequence[tuple[bytes, bytes]], count: int) -> list[tuple[bytes, bytes]]:
    order = source.rng.permutation(len(asked))[:count]
    return [asked[i] for i in order]


def cut_filler(rng: np.random.Generator, text: bytes, size: int) -> bytes:
    """A piece of `text` of exactly `size` bytes that begins at the start of a line."""
    start = int(rng.integers(len(text) - size))
    start = text.rfind(b"\n", 0, start) + 1
    return text[start : start + size]


def scatter(rng: np.random.Generator, filler: bytes, chains: Sequence[Sequence[bytes]]) -> bytes:
    """Insert the facts into the filler, keeping the order within each chain."""
    placed: list[tuple[int, bytes]] = []
    for index in rng.permutation(len(chains)):
        chain = chains[index]
        positions = np.sort(rng.integers(0, len(filler) + 1, len(chain)))
        placed += [(_boundary(filler, int(at)), fact) for at, fact in zip(positions, chain)]
    placed.sort(key=lambda item: item[0])
    out, last = [], 0
    for at, fact in placed:
        out += [filler[last:at], fact]
        last = at
    return b"".join(out) + filler[last:]


def _boundary(filler: bytes, at: int) -> int:
    if at == 0:
        return 0
    while at < len(filler) and filler[at - 1] not in b" \n":
        at += 1
    return at


def assemble(rng: np.random.Generator, pieces: Sequence[Piece], text: bytes, length: int) -> list[Turn]:
    """Turn pieces into an example of exactly `length` bytes; questions come in random order."""
    room = length - sum(piece.size for piece in pieces)
    if room < 0:
        raise ValueError(f"the facts and questions exceed length {length} by {-room} bytes")
    chains = [chain for piece in pieces for chain in piece.chains]
    questions = [question for piece in pieces for question in piece.questions]
    body = scatter(rng, cut_filler(rng, text, room), chains)
    turns = [Turn(MARKER + questions[i][0], questions[i][1]) for i in rng.permutation(len(questions))]
    return [Turn(body + turns[0].prompt, turns[0].answer), *turns[1:]]


def make_example(
    rng: np.random.Generator, task: str, text: bytes, words: Sequence[str], length: int, questions: int = 1
) -> list[Turn]:
    """One example of one task, as used for evaluation."""
    return assemble(rng, [MAKERS[task](Source(rng, words), length, questions)], text, length)


def make_mixture(
    rng: np.random.Generator,
    text: bytes,
    words: Sequence[str],
    length: int,
    share: float = 0.6,
    tasks: Sequence[str] = TASKS,
) -> list[Turn]:
    """Several of `tasks` in one example, filling up to `share` of it: more to learn from each training byte.

    Half of the mixtures begin with up to three rounds of tracking, the hardest to learn; with the one round of every
    mixture that takes 24 of the 26 letters.
    """
    source = Source(rng, words)
    pieces: list[Piece] = []
    used = 0
    order = [task for task in rng.permutation(TASKS) if MIN_LENGTH[task] <= length and task in tasks]
    for task in ["tracking"] * 3 * int(rng.integers(2)) * ("tracking" in tasks) + order:
        piece = MAKERS[task](source, length, int(rng.integers(1, 9)))
        if pieces and used + piece.size > share * length or piece.size > length:
            continue
        pieces.append(piece)
        used += piece.size
    return assemble(rng, pieces, text, length)
