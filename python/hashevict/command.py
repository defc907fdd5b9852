# SPDX-License-Identifier: Apache-2.0
"""What the package's commands share: the model's arguments, errors in one line, and modules that stay callable."""

from __future__ import annotations

import argparse
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

from hashevict.errors import Error


def add_model(parser: argparse.ArgumentParser) -> None:
    """The arguments that name a model."""
    parser.add_argument("model", help="a folder, or a name that transformers knows")
    parser.add_argument("--gguf", metavar="FILE", help="the GGUF file within the model's folder")
    parser.add_argument("--dtype", default="float32", help="of the computation (default: %(default)s)")


def load_model(options: argparse.Namespace) -> tuple[Any, Any]:
    """The model, in evaluation mode, and its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    dtype = getattr(torch, options.dtype, None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ValueError(f"--dtype {options.dtype}: expected float32, float16 or bfloat16")
    source = {} if options.gguf is None else {"gguf_file": options.gguf}
    tokenizer = AutoTokenizer.from_pretrained(options.model, **source)
    return AutoModelForCausalLM.from_pretrained(options.model, dtype=dtype, **source).eval(), tokenizer


def run(
    parser: argparse.ArgumentParser, work: Callable[[argparse.Namespace], None], arguments: Sequence[str] | None
) -> int:
    """Runs a command. Returns 2 and prints one line for bad input."""
    options = parser.parse_args(arguments)
    try:
        work(options)
    except (Error, OSError, ValueError) as error:
        print(f"error: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    return 0


def make_callable(module: str, function: Callable[[], Callable[..., Any]]) -> None:
    """Makes a command's module callable, since importing it binds its name in the package, over the function.

    Args:
        module: its name
        function: returns what a call runs; imports it if need be
    """

    class CallableModule(types.ModuleType):
        def __call__(self, *arguments: Any, **options: Any) -> Any:
            return function()(*arguments, **options)

    sys.modules[module].__class__ = CallableModule
