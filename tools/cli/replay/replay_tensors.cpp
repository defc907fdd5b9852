// SPDX-License-Identifier: Apache-2.0
#include "replay_tensors.hpp"

#include <cstring>

namespace hashevict::cli {
namespace {

int64_t element_bytes(const Tensor& tensor) {
  switch (tensor.element_type()) {
    case DType::float16:
    case DType::bfloat16:
      return 2;
    case DType::uint8:
      return 1;
    case DType::float32:
    case DType::int32:
      break;
  }
  return 4;
}

// Returns rows `begin .. begin + count - 1` of a dense tensor.
Tensor rows(const Tensor& tensor, int64_t begin, int64_t count) {
  Tensor part = tensor;
  part.data = static_cast<std::byte*>(tensor.data) + begin * tensor.stride[0] * element_bytes(tensor);
  part.shape[0] = count;
  return part;
}

}  // namespace

ReplayTensors::ReplayTensors(const Trace& trace, const Config& config, UnifiedMemory& memory)
    : memory_(memory),
      cu_seqlens_(reinterpret_cast<int32_t*>(memory.allocate(2 * sizeof(int32_t)))),
      q_(make_part(trace.layers().front().q)),
      k_(make_part(trace.layers().front().k)),
      v_(make_part(trace.layers().front().v)),
      out_(make_part({nullptr, DType::float32, {trace.num_tokens(), trace.num_qo_heads(), trace.head_dim()}})),
      slots_(make_part({nullptr, DType::int32, {trace.num_tokens(), trace.num_kv_heads()}})),
      victims_(make_part({nullptr, DType::int32, {trace.num_tokens(), trace.num_kv_heads()}})),
      takes_importance_(config.rule.policy == Policy::importance &&
                        config.rule.importance_source == ImportanceSource::given),
      takes_slope_(config.rule.policy == Policy::importance && config.rule.importance_slopes != 0) {
  if (takes_importance_) importance_ = make_part(trace.layers().front().importance);
  if (takes_slope_) importance_slope_ = make_part(trace.layers().front().importance_slope);
  cu_seqlens_[0] = 0;
}

ReplayTensors::Part ReplayTensors::make_part(const Tensor& shape) {
  Part part{shape, static_cast<uint64_t>(shape.shape[0] * shape.stride[0] * element_bytes(shape))};
  part.tensor.data = memory_.is_host() ? nullptr : memory_.allocate(part.bytes);
  return part;
}

void ReplayTensors::set_host(Part& part, void* host) const {
  part.host = host;
  if (memory_.is_host()) part.tensor.data = host;
}

void ReplayTensors::upload(Part& part, const Tensor& data) const {
  set_host(part, data.data);
  if (!memory_.is_host()) std::memcpy(part.tensor.data, data.data, part.bytes);
}

void ReplayTensors::enter(const TraceLayer& layer, ReplayLayer& result) {
  memory_.synchronize();
  upload(q_, layer.q);
  upload(k_, layer.k);
  upload(v_, layer.v);
  if (takes_importance_) upload(importance_, layer.importance);
  if (takes_slope_) upload(importance_slope_, layer.importance_slope);
  set_host(out_, result.out.data());
  set_host(slots_, result.slots.data());
  set_host(victims_, result.victims.data());
}

DecodeArgs ReplayTensors::step(int64_t begin, int64_t count) {
  memory_.synchronize();
  cu_seqlens_[1] = static_cast<int32_t>(count);
  DecodeArgs step;
  step.batch.cu_seqlens = Tensor(cu_seqlens_, {2});
  step.q = rows(q_.tensor, begin, count);
  step.k = rows(k_.tensor, begin, count);
  step.v = rows(v_.tensor, begin, count);
  step.out = rows(out_.tensor, begin, count);
  step.slots = rows(slots_.tensor, begin, count);
  step.victims = rows(victims_.tensor, begin, count);
  if (takes_importance_) step.importance = rows(importance_.tensor, begin, count);
  if (takes_slope_) step.importance_slope = rows(importance_slope_.tensor, begin, count);
  return step;
}

void ReplayTensors::fetch() {
  memory_.synchronize();
  if (memory_.is_host()) return;
  for (const Part* part : {&out_, &slots_, &victims_}) std::memcpy(part->host, part->tensor.data, part->bytes);
}

}  // namespace hashevict::cli
