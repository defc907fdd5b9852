// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <hashevict/cache.hpp>
#include <vector>

namespace hashevict::test {

/// A suite whose cases run on every backend that this build and machine have.
class BackendTest : public testing::TestWithParam<Backend> {};

inline std::vector<Backend> backends() {
  return {Backend::cpu};
}

inline std::string backend_name(const testing::TestParamInfo<Backend>& info) {
  return info.param == Backend::cpu ? "cpu" : "cuda";
}

}  // namespace hashevict::test

/// Declares a suite and runs it on every backend.
#define HASHEVICT_BACKEND_SUITE(Suite)                  \
  class Suite : public hashevict::test::BackendTest {}; \
  INSTANTIATE_TEST_SUITE_P(On, Suite, testing::ValuesIn(hashevict::test::backends()), hashevict::test::backend_name)
