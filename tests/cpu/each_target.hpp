// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "cpu/highway_targets.hpp"
// highway_targets.hpp must come first
#include <hwy/targets.h>

namespace hashevict::cpu {

/// A test that runs once for every instruction set that the library was compiled for and this processor supports.
class EachTarget : public testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override { choose(GetParam()); }
  void TearDown() override { choose(0); }

 private:
  static void choose(int64_t targets) {  // 0: all
    hwy::SetSupportedTargetsForTest(targets);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
};

inline std::string target_name(const testing::TestParamInfo<int64_t>& target) {
  return hwy::TargetName(target.param);
}

}  // namespace hashevict::cpu

/// Instantiates a suite derived from EachTarget.
#define HASHEVICT_FOR_EACH_TARGET(suite) \
  INSTANTIATE_TEST_SUITE_P(Targets, suite, testing::ValuesIn(hwy::SupportedAndGeneratedTargets()), target_name)
