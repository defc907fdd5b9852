# SPDX-License-Identifier: Apache-2.0
"""Importances that are linear in the hidden state that attention is given: a cache is handed keys alone, so the model's
attention modules hand over the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from hashevict.errors import InvalidArgument, Unsupported
from hashevict.profile import Profile
from hashevict.transformers.models import ModelShape
from hashevict.transformers.scores import OUTPUT_PROJECTIONS, attention_modules, hidden_states

if TYPE_CHECKING:
    from hashevict.transformers.cache import HashEvictCache

HOOKED = "_hashevict_gives_hidden"
"""The attribute of attention modules that hand over their hidden states."""


class HiddenImportance:
    """Importances by the hidden weights of a profile.

    Raises:
        InvalidArgument: weights for hidden states of another size
        Unsupported: a bounded layer whose attention module is not known
    """

    def __init__(self, model: Any, shape: ModelShape, profile: Profile) -> None:
        assert profile.hidden_weight is not None and profile.hidden_bias is not None
        size = model.config.get_text_config(decoder=True).hidden_size
        if profile.hidden_weight.shape[2] != size:
            raise InvalidArgument(
                f"profile.hidden_weight: for hidden states of size {profile.hidden_weight.shape[2]}: expected {size}, "
                "that of the model"
            )
        modules = {module.layer_idx for _, module in attention_modules(model)}
        missing = [layer for layer in shape.bounded if layer not in modules]
        if missing:
            raise Unsupported(
                f"model_type {shape.model_type!r}: layer {missing[0]} has no attention module with a layer_idx and an "
                f"output projection by the name of {', '.join(OUTPUT_PROJECTIONS)}, so its hidden states are unknown"
            )
        parameters = (profile.hidden_weight, profile.hidden_bias)
        self._layers = list(zip(*(torch.from_numpy(part.copy()) for part in parameters), strict=True))

    def __call__(self, index: int, hidden: Any) -> Any:
        """Float32 ``[batch, tokens, num_kv_heads]`` of hidden states ``[batch, tokens, hidden_size]``, by the weights
        of the ``index``-th bounded layer.
        """
        weight, bias = self._layers[index]
        if weight.device != hidden.device:
            weight, bias = self._layers[index] = (weight.to(hidden.device), bias.to(hidden.device))
        with torch.autocast(hidden.device.type, enabled=False):
            return hidden.float() @ weight.mT + bias


def give_hidden_states(model: Any, shape: ModelShape, kind: type[HashEvictCache]) -> None:
    """Lets the attention modules of the bounded layers hand their hidden states to caches of ``kind``. The hooks stay,
    and do nothing for other caches.
    """

    def hook(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        for value in (*args, *kwargs.values()):  # by its type, since versions and families name it differently
            if isinstance(value, kind):
                value.take_hidden(module.layer_idx, hidden_states(args, kwargs))

    for _, module in attention_modules(model):
        if module.layer_idx in shape.bounded and not hasattr(module, HOOKED):
            module.register_forward_pre_hook(hook, with_kwargs=True)
            setattr(module, HOOKED, True)
