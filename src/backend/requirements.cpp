// SPDX-License-Identifier: Apache-2.0
#include "backend/requirements.hpp"

#include "backend/registry.hpp"
#include "core/carver.hpp"
#include "core/state.hpp"
#include "core/validate.hpp"

namespace hashevict {

using core::checked_sum;
using core::Settings;

Settings resolve_config(const hashevict_config* config) {
  Settings settings = core::validate_config(config);
  settings.placement.backend = find_backend(settings.placement.backend, settings.placement.device).id;
  settings.config.placement.backend = settings.placement.backend;
  return settings;
}

hashevict_bytes required_bytes(const Settings& settings) {
  const core::StateLayout layout = core::lay_out_state(settings);
  hashevict_bytes bytes{};
  for (int32_t layer = 0; layer < settings.shape.num_layers && !settings.placement.is_paged(); ++layer) {
    bytes.keys = checked_sum(bytes.keys, core::dense_kv_bytes(settings, layer));
  }
  bytes.values = bytes.keys;
  bytes.codes = layout.bytes_of(core::StatePartIndex::codes);
  bytes.positions = layout.bytes_of(core::StatePartIndex::positions);
  bytes.state = layout.total_bytes;
  bytes.workspace = find_backend(settings.placement.backend, settings.placement.device).workspace_bytes(settings);
  bytes.total = checked_sum(checked_sum(bytes.keys, bytes.values), checked_sum(bytes.state, bytes.workspace));
  return bytes;
}

}  // namespace hashevict
