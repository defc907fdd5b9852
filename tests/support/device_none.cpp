// SPDX-License-Identifier: Apache-2.0
#include <stdexcept>

#include "support/device.hpp"

namespace hashevict::test::device {
namespace {

[[noreturn]] void fail() {
  throw std::logic_error{"this build of the tests reaches host memory only"};
}

}  // namespace

std::string name() {
  return {};
}

std::byte* allocate(std::size_t /*bytes*/) {
  fail();
}

void release(std::byte* /*memory*/) noexcept {}

void upload(const void* /*host*/, void* /*target*/, std::size_t /*bytes*/) {
  fail();
}

void download(const void* /*source*/, void* /*host*/, std::size_t /*bytes*/) {
  fail();
}

}  // namespace hashevict::test::device
