// SPDX-License-Identifier: Apache-2.0
#include "simt/fiber.hpp"

#include <boost/context/protected_fixedsize_stack.hpp>
#include <memory>
#include <utility>

#ifdef HASHEVICT_SANITIZE_ADDRESS
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace hashevict::simt {
namespace {

namespace context = boost::context;

// Instrumented frames are several times larger than plain ones.
constexpr std::size_t kStackBytes = 128 * 1024;

context::protected_fixedsize_stack allocator() {
  return context::protected_fixedsize_stack{kStackBytes};
}

#ifdef HASHEVICT_SANITIZE_ADDRESS
void start_switch(void** save, const void* bottom, std::size_t size) {
  __sanitizer_start_switch_fiber(save, bottom, size);
}
void finish_switch(void* saved, const void** old_bottom, std::size_t* old_size) {
  __sanitizer_finish_switch_fiber(saved, old_bottom, old_size);
}
void forget_frames(const void* bottom, std::size_t size) {
  __asan_unpoison_memory_region(bottom, size);
}
#else
void start_switch(void** /*save*/, const void* /*bottom*/, std::size_t /*size*/) {}
void finish_switch(void* /*saved*/, const void** /*old_bottom*/, std::size_t* /*old_size*/) {}
void forget_frames(const void* /*bottom*/, std::size_t /*size*/) {}
#endif

/// Lowest usable address. The guard page and the allocator's rounding lie below.
const void* bottom_of(const context::stack_context& stack) {
  return static_cast<const char*>(stack.sp) - kStackBytes;
}

/// Hands one stack of the pool to Boost.
struct PooledStack {
  StackPool* pool;
  context::stack_context stack;
  context::stack_context allocate() { return stack; }
  void deallocate(context::stack_context& used) { pool->give_back(used); }
};

}  // namespace

StackPool::~StackPool() {
  for (context::stack_context& stack : free_) allocator().deallocate(stack);
}

context::stack_context StackPool::take() {
  if (free_.empty()) return allocator().allocate();
  const context::stack_context stack = free_.back();
  free_.pop_back();
  forget_frames(bottom_of(stack), kStackBytes);
  return stack;
}

Fiber::Fiber(StackPool& stacks, std::function<void()> body)
    : body_{std::move(body)},
      stack_{stacks.take()},
      fiber_{std::allocator_arg, PooledStack{&stacks, stack_},
             [this](context::fiber&& caller) { return run(std::move(caller)); }} {}

context::fiber Fiber::run(context::fiber&& caller) {
  finish_switch(nullptr, &caller_bottom_, &caller_size_);
  caller_ = std::move(caller);
  body_();
  done_ = true;
  start_switch(nullptr, caller_bottom_, caller_size_);  // the fiber never runs again
  return std::move(caller_);
}

void Fiber::resume() {
  void* fake_stack = nullptr;
  start_switch(&fake_stack, bottom_of(stack_), kStackBytes);
  fiber_ = std::move(fiber_).resume();
  finish_switch(fake_stack, nullptr, nullptr);
}

void Fiber::suspend() {
  start_switch(&fake_stack_, caller_bottom_, caller_size_);
  caller_ = std::move(caller_).resume();
  finish_switch(fake_stack_, &caller_bottom_, &caller_size_);
}

}  // namespace hashevict::simt
