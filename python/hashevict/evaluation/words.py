# SPDX-License-Identifier: Apache-2.0
"""Words that facts are made of: common ones, which every tokenizer has in few tokens."""

from __future__ import annotations


def _split(words: str) -> list[str]:
    return words.split()


NOUNS = _split("""
    apple anchor arrow basket beacon blanket bottle branch bridge bucket butter button camera candle canyon
    carpet castle cherry circle clover copper cotton desert dragon engine falcon feather finger flower forest
    garden garlic ginger guitar hammer harbor hollow island jacket jungle kettle kitchen ladder lantern lemon
    letter lizard marble meadow mirror monkey mountain needle ocean orange orchid oyster palace paper parrot
    pepper piano pillow pirate planet pocket potato puzzle rabbit ribbon river robin rocket saddle salmon scarf
    shadow shovel silver spider spring statue summer sunset temple thunder ticket tiger tower tunnel turtle
    valley velvet village violin wagon walnut whale window winter wizard
""")
NAMES = _split("""
    Adam Agnes Albert Alice Andrew Anna Arthur Barbara Benjamin Carol Caroline Charles Clara Daniel David Diana
    Edward Eleanor Elizabeth Emily Eric Felix Florence Frank George Grace Hannah Harold Helen Henry Isabel Jack
    James Jane Julia Karl Kate Laura Leonard Lewis Linda Louis Lucy Margaret Maria Martin Mary Michael Nancy
    Nicholas Nora Oliver Oscar Patrick Paul Peter Philip Rachel Ralph Richard Robert Rose Ruth Samuel Sarah
    Simon Stephen Susan Thomas Victor
""")
CITIES = _split("""
    Athens Berlin Boston Brussels Cairo Chicago Dallas Delhi Denver Dublin Florence Geneva Hamburg Houston
    Istanbul Lisbon London Madrid Mexico Milan Montreal Moscow Munich Naples Oslo Oxford Paris Portland Prague
    Rome Seattle Sydney Tokyo Toronto Venice Vienna Warsaw Zurich
""")
TRADES = _split("""
    architect baker barber butcher carpenter chemist clerk dentist doctor driver engineer farmer gardener judge
    lawyer librarian mechanic miner musician nurse painter pilot plumber printer sailor singer surgeon tailor
    teacher writer
""")
COLOURS = _split("""
    black blue brown green grey orange pink purple red silver white yellow
""")
SECTIONS = _split("""
    backup cache client database driver display engine event filter gateway input logger monitor network output
    parser printer proxy queue render router scanner server session socket storage stream sync timer worker
""")
PARTS = _split("""
    age batch buffer count delay depth height index level limit offset port quota rate retries size speed
    timeout weight width
""")
