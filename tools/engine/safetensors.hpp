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

/**
 * A safetensors file, every byte of its header checked before any of it is believed: size, JSON, names, types, shapes,
 * offsets in range, of the shape's size, without overlap and without gaps.
 *
 * Move-only. Copies no tensor data but what the file leaves misaligned.
 */
class Safetensors {
 public:
  Safetensors(Safetensors&&) noexcept = default;
  Safetensors& operator=(Safetensors&&) noexcept = default;

  /// Maps a file. It must not shrink while it is open. @throws Error invalid_data naming the file.
  static Safetensors open(const std::filesystem::path& path);

  /// Reads from memory that outlives the result. @param source stands in messages in place of a file's name.
  static Safetensors parse(std::span<const std::byte> memory, std::string source);

  /// All tensors, in order of name.
  const std::map<std::string, StoredTensor, std::less<>>& tensors() const { return tensors_; }

  /// The header's `__metadata__`.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  /// NULL if there is none of that name.
  const StoredTensor* find(std::string_view name) const;

  /// @throws Error if there is none of that name.
  const StoredTensor& at(std::string_view name) const;

  /// File name, or what parse() was given.
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
  std::map<std::string, std::string> metadata_;
};

/// Collects tensors and writes them as one safetensors file. The data that add() is given must live until write().
class SafetensorsWriter {
 public:
  /// @throws Error for a name given twice, or data whose size is not that of the shape.
  void add(std::string name, ElementType type, std::vector<std::int64_t> shape, std::span<const std::byte> bytes);
  void add(std::string name, std::vector<std::int64_t> shape, std::span<const float> values);
  void add(std::string name, std::vector<std::int64_t> shape, std::span<const std::int32_t> values);
  void add(std::string name, std::vector<std::int64_t> shape, std::span<const std::uint8_t> values);

  /// Sets one entry of the header's `__metadata__`.
  void set_metadata(std::string key, std::string value);

  /// Writes an OutputFile: `path` is complete or untouched. @throws Error
  void write(const std::filesystem::path& path) const;

 private:
  std::string header() const;

  std::vector<StoredTensor> tensors_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace hashevict::engine
