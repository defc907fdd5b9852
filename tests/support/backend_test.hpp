// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <hashevict/cache.hpp>
#include <string>
#include <vector>

#include "support/device.hpp"
#include "support/enum_name.hpp"

namespace hashevict::test {

/// A suite whose cases run on every available backend.
class BackendTest : public testing::TestWithParam<Backend> {};

/// The backends to test. Where kernels run on the host it is that backend alone: another program tests the CPU backend.
inline std::vector<Backend> backends() {
  const std::string name = device::name();
  if (name.empty()) return {Backend::cpu};
  if (name == "cuda") return {Backend::cpu, Backend::cuda};
  return {Backend::cuda};
}

inline std::string backend_name(const testing::TestParamInfo<Backend>& info) {
  return info.param == Backend::cpu ? "cpu" : device::name();
}

}  // namespace hashevict::test

/// Declares a suite and runs it on every backend.
#define HASHEVICT_BACKEND_SUITE(Suite)                  \
  class Suite : public hashevict::test::BackendTest {}; \
  INSTANTIATE_TEST_SUITE_P(On, Suite, testing::ValuesIn(hashevict::test::backends()), hashevict::test::backend_name)
