# SPDX-License-Identifier: Apache-2.0
from collections.abc import Mapping
from typing import Any

class Cache:
    def __init__(self, parts: dict[str, Any], lent: dict[str, Any] | None) -> None: ...
    def prefill(
        self,
        layer: int,
        q: object,
        k: object,
        v: object,
        slots: object,
        victims: object,
        mode: str,
        window: int,
        out: object,
        lse: object,
        scale: float,
        logit_soft_cap: float,
        attention: str,
        importance: object,
        importance_slope: object,
        row_to_sequence: object,
        cu_seqlens: object,
        stream: object,
    ) -> None: ...
    def evict(
        self,
        layer: int,
        q: object,
        k: object,
        slots: object,
        victims: object,
        importance: object,
        importance_slope: object,
        row_to_sequence: object,
        cu_seqlens: object,
        stream: object,
    ) -> None: ...
    def append(
        self,
        layer: int,
        q: object,
        k: object,
        v: object,
        slots: object,
        victims: object,
        importance: object,
        importance_slope: object,
        row_to_sequence: object,
        cu_seqlens: object,
        stream: object,
    ) -> None: ...
    def attend(
        self,
        layer: int,
        q: object,
        out: object,
        lse: object,
        scale: float,
        logit_soft_cap: float,
        queries: str,
        row_to_sequence: object,
        cu_seqlens: object,
        stream: object,
    ) -> None: ...
    def decode(
        self,
        layer: int,
        q: object,
        k: object,
        v: object,
        out: object,
        lse: object,
        slots: object,
        victims: object,
        scale: float,
        logit_soft_cap: float,
        importance: object,
        importance_slope: object,
        row_to_sequence: object,
        cu_seqlens: object,
        stream: object,
    ) -> None: ...
    def encode(self, layer: int, sequence: int, as_: str, x: object, codes: object, stream: object) -> None: ...
    def reset(self, sequence: int, stream: object) -> None: ...
    def fork(self, source: int, target: int, stream: object) -> None: ...
    def save(self, sequence: int, stream: object) -> bytes: ...
    def save_bytes(self) -> int: ...
    def load(self, sequence: int, data: bytes, stream: object) -> None: ...
    def set_projection(self, layer: int, projection: object) -> None: ...
    def get_projection(self, layer: int, projection: object) -> None: ...
    def set_center(self, layer: int, sequence: int, key_center: object, query_center: object) -> None: ...
    def set_importance_weights(self, layer: int, weight: object, bias: object) -> None: ...
    def view(self, layer: int, kv_head: int) -> tuple[Any, Any, Any, Any, Any, Any]: ...
    def statistics(self, layer: int, kv_head: int, sequence: int, stream: object) -> dict[str, int]: ...
    def config(self) -> dict[str, Any]: ...

def required_bytes(parts: dict[str, Any]) -> dict[str, int]: ...
def capabilities(backend: str) -> Mapping[str, Any]: ...
def divide_slots(quantiles: object, total_slots: int, length: int, floor: int) -> list[int]: ...
def names() -> dict[str, list[str]]: ...
