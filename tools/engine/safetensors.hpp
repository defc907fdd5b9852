// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stored_tensor.hpp"

namespace hashevict::engine {

/// Tensors by name, in memory that somebody else owns.
using TensorTable = std::map<std::string, const StoredTensor*, std::less<>>;

/**
 * A safetensors file. Checks the whole header before it uses any of it: size, JSON, names, types, shapes, and offsets,
 * which must be in range, of the shape's size, without overlap and without gaps. Lists tensors of unknown types too;
 * reading their elements throws.
 *
 * Move-only. Copies only misaligned tensor data.
 */
class Safetensors {
 public:
  Safetensors(Safetensors&&) noexcept = default;
  Safetensors& operator=(Safetensors&&) noexcept = default;

  /// Maps a file. It must not shrink while it is open. @throws Error invalid_data naming the file.
  static Safetensors open(const std::filesystem::path& path);

  /// Parses memory that outlives the result. @param source stands in messages for the file's name.
  static Safetensors parse(std::span<const std::byte> memory, std::string source);

  /// All tensors, in order of name.
  const std::map<std::string, StoredTensor, std::less<>>& tensors() const { return tensors_; }

  /// Pointers to them, valid as long as this object.
  TensorTable table() const;

  /// Returns NULL if no tensor has that name.
  const StoredTensor* find(std::string_view name) const;

  /// @throws Error if no tensor has that name.
  const StoredTensor& at(std::string_view name) const;

  /// The file's name, or parse()'s `source`.
  const std::string& source() const { return source_; }

 private:
  Safetensors() = default;
  void read(std::span<const std::byte> memory);
  void check_coverage(std::span<const std::byte> data) const;
  void align();

  std::string source_;
  std::shared_ptr<const void> mapping_;
  std::vector<std::vector<std::uint64_t>> aligned_copies_;
  std::map<std::string, StoredTensor, std::less<>> tensors_;
};

/// Collects tensors and writes them as one safetensors file. The data that add() is given must live until write().
class SafetensorsWriter {
 public:
  /// @throws Error for a duplicate name, or data whose size differs from the shape's.
  void add(std::string name, ElementType type, std::vector<std::int64_t> shape, std::span<const std::byte> bytes);
  /// The same of float, int32 or uint8 values, as `std::span` or `std::vector`.
  template <class Values>
  void add(std::string name, std::vector<std::int64_t> shape, const Values& values) {
    add(std::move(name), element_type_of<typename Values::value_type>, std::move(shape),
        std::as_bytes(std::span(values)));
  }

  /// Writes an OutputFile: `path` is complete or untouched. @throws Error
  void write(const std::filesystem::path& path) const;

 private:
  std::string header() const;

  std::vector<StoredTensor> tensors_;
};

}  // namespace hashevict::engine
