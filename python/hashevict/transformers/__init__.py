# SPDX-License-Identifier: Apache-2.0
"""Bounded caches in transformers 5. Importing it makes the attention implementation ``hashevict`` known."""

from hashevict.transformers.attention import NAME, attention, register
from hashevict.transformers.cache import HashEvictCache

register()

__all__ = ["NAME", "HashEvictCache", "attention", "register"]
