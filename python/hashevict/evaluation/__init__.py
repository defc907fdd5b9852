# SPDX-License-Identifier: Apache-2.0
"""Evaluation of bounded caches on a real model. :func:`hashevict.evaluate` runs it."""
