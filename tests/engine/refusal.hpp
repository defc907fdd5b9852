// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <hashevict/status.hpp>
#include <string>

namespace hashevict::engine {

/// Runs an action. @return the message of its refusal, or "accepted". @param expected the status of the refusal
template <class Action>
std::string refusal(const Action& action, Status expected = Status::invalid_data) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.status(), expected) << error.what();
    return error.what();
  }
  return "accepted";
}

}  // namespace hashevict::engine
