// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace hashevict::simt {

/// The devices that runtime.cpp plays, with counts of the calls to them. Tests change them and restore them.
struct Devices {
  std::vector<int32_t> capabilities{90};    ///< compute capability of each
  std::string architectures{"80-real,90"};  ///< the architectures that the kernels were compiled for
  std::atomic<int> waits{0}, fills{0}, copies{0};

  /// Whether all of them have clusters, and kernels that use them.
  [[nodiscard]] bool have_clusters() const {
    const bool all = std::all_of(capabilities.begin(), capabilities.end(), [](int32_t c) { return c >= 90; });
    return all && architectures.find("90") != std::string::npos;
  }

  static Devices& instance() {
    static Devices devices;
    return devices;
  }
};

}  // namespace hashevict::simt
