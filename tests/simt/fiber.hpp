// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/context/fiber.hpp>
#include <cstddef>
#include <functional>
#include <vector>

namespace hashevict::simt {

/// Stacks for fibers, each with a guard page below. Stacks of ended fibers are reused.
class StackPool {
 public:
  StackPool() = default;
  StackPool(const StackPool&) = delete;
  StackPool& operator=(const StackPool&) = delete;
  ~StackPool();

  boost::context::stack_context take();
  void give_back(boost::context::stack_context stack) { free_.push_back(stack); }

 private:
  std::vector<boost::context::stack_context> free_;
};

/// A function that can suspend and resume. It reports every switch to AddressSanitizer, since the packaged
/// Boost.Context switches in assembly without doing so.
class Fiber {
 public:
  /// `body` must not let an exception escape.
  Fiber(StackPool& stacks, std::function<void()> body);
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// Runs the body until it suspends or ends.
  void resume();
  /// Returns to the caller of resume(). Only the body calls it.
  void suspend();
  [[nodiscard]] bool done() const { return done_; }

 private:
  boost::context::fiber run(boost::context::fiber&& caller);

  std::function<void()> body_;
  boost::context::stack_context stack_;
  boost::context::fiber fiber_;
  boost::context::fiber caller_;
  bool done_ = false;
  void* fake_stack_ = nullptr;  // AddressSanitizer's fake stack of the fiber
  const void* caller_bottom_ = nullptr;
  std::size_t caller_size_ = 0;
};

}  // namespace hashevict::simt
