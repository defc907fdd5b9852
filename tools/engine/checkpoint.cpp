// SPDX-License-Identifier: Apache-2.0
#include "checkpoint.hpp"

#include <nlohmann/json.hpp>

#include "file_mapping.hpp"

namespace hashevict::engine {
namespace {

constexpr const char* kFile = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& message) {
  throw Error{Status::invalid_data, path.string() + ": " + message};
}

// Tensor names and the shards they lie in.
std::map<std::string, std::string> parse_index(const std::filesystem::path& path) {
  const FileMapping file(path);
  const auto index = nlohmann::json::parse(file.text(), nullptr, /*allow_exceptions=*/false);
  const auto entry = index.is_object() ? index.find("weight_map") : index.end();
  if (entry == index.end() || !entry->is_object()) fail(path, "is not a JSON object with a weight_map");
  std::map<std::string, std::string> shards;
  for (const auto& [tensor, shard] : entry->items()) {
    if (!shard.is_string()) fail(path, "weight_map names no file for " + tensor);
    const auto name = shard.get<std::string>();
    if (name.empty() || std::filesystem::path(name).filename() != name || name == "." || name == "..") {
      fail(path, "weight_map names a file outside of its folder for " + tensor);
    }
    shards.emplace(tensor, name);
  }
  return shards;
}

}  // namespace

Checkpoint::Checkpoint(const std::filesystem::path& path) {
  const bool is_folder = std::filesystem::is_directory(path);
  if (is_folder && std::filesystem::exists(path / kIndex)) {
    open_index(path / kIndex);
  } else if (path.extension() == ".json") {
    open_index(path);
  } else {
    shards_.push_back(Safetensors::open(is_folder ? path / kFile : path));
    for (const auto& [name, tensor] : shards_.front().tensors()) tensors_.emplace(name, &tensor);
  }
}

void Checkpoint::open_index(const std::filesystem::path& path) {
  const std::map<std::string, std::string> index = parse_index(path);
  std::map<std::string, std::size_t> opened;
  for (const auto& entry : index) {
    if (!opened.emplace(entry.second, shards_.size()).second) continue;
    shards_.push_back(Safetensors::open(path.parent_path() / entry.second));
  }
  for (const auto& [name, shard] : index) tensors_.emplace(name, &shards_[opened.at(shard)].at(name));
}

const StoredTensor* Checkpoint::find(std::string_view name) const {
  const auto entry = tensors_.find(name);
  return entry == tensors_.end() ? nullptr : entry->second;
}

}  // namespace hashevict::engine
