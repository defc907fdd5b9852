// SPDX-License-Identifier: Apache-2.0
#include "cpu/processor.hpp"

namespace hashevict::cpu {
namespace {

Processor inspect() {
#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
  __builtin_cpu_init();
  // Zen 4 is AMD's first processor with AVX-512.
  return {.multiplies_bfloat = __builtin_cpu_supports("avx512bf16") != 0,
          .fetches_to_second_level = __builtin_cpu_is("amd") != 0 && __builtin_cpu_supports("avx512f") != 0};
#else
  return {.multiplies_bfloat = false, .fetches_to_second_level = false};
#endif
}

}  // namespace

const Processor& processor() {
  static const Processor inspected = inspect();
  return inspected;
}

}  // namespace hashevict::cpu
