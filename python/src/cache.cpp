// SPDX-License-Identifier: Apache-2.0
#include "cache.hpp"

#include "config.hpp"

namespace hashevict::python {

NativeCache::NativeCache(nb::dict parts, nb::object lent) {
  const Config config = to_config(parts);
  Memory memory;
  if (!lent.is_none()) memory = lend(config, nb::cast<nb::dict>(lent), lent_);
  {
    const nb::gil_scoped_release release;
    cache_ = std::make_unique<Cache>(config, memory);
  }
  const Placement placement = cache_->config().placement;
  space_ = {placement.backend == Backend::cuda, placement.device};
}

}  // namespace hashevict::python
