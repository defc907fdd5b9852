// SPDX-License-Identifier: Apache-2.0
#include "reference/attention.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace hashevict::reference {

Attention attend(const Head& head, const Vector& query, std::int32_t position, const AttentionOptions& options) {
  const std::size_t dim = head.settings.head_dim;
  const double scale = options.softmax_scale != 0.0 ? options.softmax_scale : 1.0 / std::sqrt(static_cast<double>(dim));
  Attention result;
  result.out.assign(dim, 0.0);
  result.out_magnitude.assign(dim, 0.0);

  std::vector<const Slot*> seen;
  std::vector<double> logits;
  double largest = -std::numeric_limits<double>::infinity();
  for (const Slot& slot : head.slots) {
    if (slot.position > position) continue;
    double logit = 0.0;
    double magnitude = 0.0;
    for (std::size_t e = 0; e < dim; ++e) {
      const double product = static_cast<double>(query[e]) * static_cast<double>(slot.key[e]);
      logit += scale * product;
      magnitude += scale * std::abs(product);
    }
    if (options.logit_soft_cap > 0.0) logit = options.logit_soft_cap * std::tanh(logit / options.logit_soft_cap);
    result.logit_magnitude = std::max(result.logit_magnitude, magnitude);
    largest = std::max(largest, logit);
    logits.push_back(logit);
    seen.push_back(&slot);
  }

  double sum = 0.0;
  for (const double logit : logits) sum += std::exp(logit - largest);
  for (std::size_t j = 0; j < seen.size(); ++j) {
    const double weight = std::exp(logits[j] - largest) / sum;
    for (std::size_t e = 0; e < dim; ++e) {
      result.out[e] += weight * static_cast<double>(seen[j]->value[e]);
      result.out_magnitude[e] += weight * std::abs(static_cast<double>(seen[j]->value[e]));
    }
  }
  result.lse = seen.empty() ? largest : largest + std::log(sum);
  result.num_slots = seen.size();
  return result;
}

}  // namespace hashevict::reference
