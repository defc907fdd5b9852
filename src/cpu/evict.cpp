// SPDX-License-Identifier: Apache-2.0
#include "cpu/cpu_backend.hpp"
#include "cpu/head.hpp"
#include "cpu/step.hpp"

namespace hashevict::cpu {

void CpuBackend::take_tokens(const core::Step& step, bool store) {
  if (!has_tokens(step)) return;
  for_each_step(step, [&](const HeadTokens& tokens, int32_t worker) {
    const Scratch& scratch = workspace_.scratch(worker);
    place_tokens(tokens, Choice::rule, scratch, [&](int32_t index, const TakenSlot& taken) {
      if (store) store_rows(tokens.head, step, tokens.first + index, taken.slot, scratch);
      report(tokens, index, taken);
    });
  });
  count_tokens(step, false);
}

void CpuBackend::evict(const core::Step& step, hashevict_stream /*stream*/) {
  validate(step, core::Operation::evict);
  take_tokens(step, false);
}

void CpuBackend::append(const core::Step& step, hashevict_stream /*stream*/) {
  validate(step, core::Operation::append);
  take_tokens(step, true);
}

}  // namespace hashevict::cpu
