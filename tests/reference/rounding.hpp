// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace hashevict::reference {

/// The type in which a cache stores elements of keys and values.
enum class Storage { float32, float16, bfloat16 };

/// The value of the storage type that is nearest to `x`, ties to even.
float round_to(Storage storage, float x);

}  // namespace hashevict::reference
