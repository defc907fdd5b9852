// SPDX-License-Identifier: Apache-2.0
#include "checkpoint.hpp"

#include <algorithm>
#include <set>

#include "file_mapping.hpp"
#include "json_object.hpp"

namespace hashevict::engine {
namespace {

constexpr const char* kFile = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr int kMaxDepth = 8;  // no index nests deeper

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& message) {
  throw Error{Status::invalid_data, path.string() + ": " + message};
}

// Maps tensor names to shards.
std::map<std::string, std::string> parse_index(const std::filesystem::path& path) {
  const FileMapping file(path);
  const nlohmann::json index = parse_json_object(file.text(), path.string(), kMaxDepth);
  const auto entry = index.find("weight_map");
  if (entry == index.end() || !entry->is_object()) fail(path, "is not a JSON object with a weight_map");
  if (entry->empty()) fail(path, "weight_map names no tensor");
  std::map<std::string, std::string> shards;
  for (const auto& [tensor, shard] : entry->items()) {
    if (!shard.is_string()) fail(path, "weight_map names no file for " + quote(tensor));
    const auto name = shard.get<std::string>();
    if (name.empty() || std::filesystem::path(name).filename() != name || name == "." || name == "..") {
      fail(path, "weight_map names a file outside of its folder for " + quote(tensor));
    }
    shards.emplace(tensor, name);
  }
  return shards;
}

void require_all_there(const std::filesystem::path& index, const std::set<std::string>& shards) {
  const auto is_missing = [&](const std::string& shard) { return !is_there(index.parent_path() / shard); };
  const auto first = std::find_if(shards.begin(), shards.end(), is_missing);
  if (first == shards.end()) return;
  const auto missing = std::count_if(shards.begin(), shards.end(), is_missing);
  fail(index, "names the shard " + quote(*first) + ", which is not there (" + std::to_string(missing) + " of " +
                  std::to_string(shards.size()) + " are missing)");
}

// Names the form of a model that the folder holds in another format.
[[noreturn]] void refuse_folder(const std::filesystem::path& folder) {
  std::string found;
  for (const char* other : {"consolidated.safetensors", "pytorch_model.bin", "pytorch_model.bin.index.json",
                            "model.safetensors.index.fp32.json", "adapter_model.safetensors"}) {
    if (is_there(folder / other)) found.append(found.empty() ? "; there is " : ", ").append(other);
  }
  fail(folder, std::string("holds neither ") + kFile + " nor " + kIndex + found +
                   (found.empty() ? "" : ", whose tensors are stored or named in another way"));
}

}  // namespace

Checkpoint::Checkpoint(const std::filesystem::path& path) {
  const bool is_whole_folder = is_folder(path);
  const bool has_file = is_there(path / kFile);  // takes precedence over an index
  if (is_whole_folder && !has_file && !is_there(path / kIndex)) refuse_folder(path);
  const std::filesystem::path chosen = is_whole_folder ? path / (has_file ? kFile : kIndex) : path;
  if (chosen.extension() == ".json") {
    open_index(chosen);
  } else {
    tensors_ = shards_.emplace_back(Safetensors::open(chosen)).table();
  }
}

void Checkpoint::open_index(const std::filesystem::path& path) {
  const std::map<std::string, std::string> index = parse_index(path);
  std::set<std::string> names;
  for (const auto& entry : index) names.insert(entry.second);
  require_all_there(path, names);
  std::map<std::string, std::size_t> opened;
  std::map<std::string, std::size_t> shard_of;
  for (const std::string& name : names) {
    opened.emplace(name, shards_.size());
    const Safetensors& shard = shards_.emplace_back(Safetensors::open(path.parent_path() / name));
    for (const auto& [tensor, stored] : shard.tensors()) {
      const auto [entry, is_new] = shard_of.emplace(tensor, shards_.size() - 1);
      if (!is_new)
        fail(shard.source(), "holds the tensor " + quote(tensor) + ", as " + shards_[entry->second].source());
    }
  }
  for (const auto& [name, shard] : index) shards_[opened.at(shard)].at(name);  // throws if it is missing
  for (const Safetensors& shard : shards_) tensors_.merge(shard.table());
}

}  // namespace hashevict::engine
