// SPDX-License-Identifier: Apache-2.0
#include "trace_recorder.hpp"

#include <string>

namespace hashevict::cli {
namespace {

// The engine's activations are fp32 `[tokens, heads, head_dim]`; only the rows of a token are contiguous.
void append(std::vector<float>& to, const Tensor& tensor) {
  const int64_t width = tensor.shape[1] * tensor.shape[2];
  for (int64_t token = 0; token < tensor.shape[0]; ++token) {
    const float* row = tensor.data_as<float>() + token * tensor.stride[0];
    to.insert(to.end(), row, row + width);
  }
}

}  // namespace

TraceRecorder::TraceRecorder(const engine::ModelConfig& model)
    : layers_(static_cast<size_t>(model.num_layers)),
      num_qo_heads_(model.num_qo_heads),
      num_kv_heads_(model.num_kv_heads),
      head_dim_(model.head_dim) {}

void TraceRecorder::observe(const engine::KvCache::Observation& step) {
  Layer& layer = layers_[static_cast<size_t>(step.layer)];
  append(layer.q, step.q);
  append(layer.k, step.k);
  append(layer.v, step.v);
}

void TraceRecorder::write(const std::filesystem::path& path,
                          const std::function<void(engine::SafetensorsWriter&)>& add_learned) const {
  const int64_t num_tokens = static_cast<int64_t>(layers_.front().q.size()) / (num_qo_heads_ * head_dim_);
  engine::SafetensorsWriter writer;
  for (size_t i = 0; i < layers_.size(); ++i) {
    const std::string prefix = "layers." + std::to_string(i) + ".";
    writer.add(prefix + "q", {num_tokens, num_qo_heads_, head_dim_}, std::span(layers_[i].q));
    writer.add(prefix + "k", {num_tokens, num_kv_heads_, head_dim_}, std::span(layers_[i].k));
    writer.add(prefix + "v", {num_tokens, num_kv_heads_, head_dim_}, std::span(layers_[i].v));
  }
  if (add_learned) add_learned(writer);
  writer.write(path);
}

}  // namespace hashevict::cli
