// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "backend/backend.hpp"

namespace hashevict {

/// A set of copies between host and backend memory, with one wait for all of them. finish() waits; after a failure the
/// destructor does, so that no copy outlives its source or target. Declare a Transfers after the memory that it copies.
class Transfers {
 public:
  Transfers(Backend& backend, hashevict_stream stream) : backend_{backend}, stream_{stream} {}
  ~Transfers() {
    if (!pending_) return;
    try {
      backend_.wait(stream_);
    } catch (...) {  // another failure is already on its way
    }
  }
  Transfers(const Transfers&) = delete;
  Transfers& operator=(const Transfers&) = delete;

  void read(void* host, const void* memory, const Runs& runs) {
    pending_ = true;
    backend_.start_read(host, memory, runs, stream_);
  }
  void write(void* memory, const void* host, const Runs& runs) {
    pending_ = true;
    backend_.start_write(memory, host, runs, stream_);
  }
  void finish() {
    pending_ = false;
    backend_.wait(stream_);
  }

 private:
  Backend& backend_;
  hashevict_stream stream_;
  bool pending_ = false;
};

}  // namespace hashevict
