// SPDX-License-Identifier: Apache-2.0
#include "flash_infer.hpp"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <vector>

#include <flashinfer/attention/decode.cuh>
#include <flashinfer/attention/default_decode_params.cuh>
#include <flashinfer/attention/default_prefill_params.cuh>
#include <flashinfer/attention/prefill.cuh>
#include <flashinfer/attention/scheduler.cuh>
#include <flashinfer/attention/variants.cuh>

namespace hashevict::bench {
namespace {

namespace fi = flashinfer;

constexpr uint32_t kHeadDim = 128;
constexpr int32_t kPageSize = 16;
constexpr uint32_t kQueryTile = 16;  // rows of a tile: a token's queries of a group, up to 16
constexpr auto kNoRotation = fi::PosEncodingMode::kNone;
using Attention = fi::DefaultAttention<false, false, false, false>;  // no mask, window, soft-cap or ALiBi

/// FlashInfer's workspaces on the device. Its documentation advises 128 MiB for the first.
constexpr std::size_t kFloatBytes = std::size_t{128} << 20;
constexpr std::size_t kIntBytes = std::size_t{8} << 20;

template <class T>
T* at(void* workspace, int64_t offset) {
  return reinterpret_cast<T*>(static_cast<std::byte*>(workspace) + offset);
}

int32_t* place(DeviceBuffers& buffers, const std::vector<int32_t>& values) {
  return static_cast<int32_t*>(buffers.place(values.data(), values.size() * sizeof(int32_t)));
}

/// Shared by both paths: each layer as pages, the softmax scale, and the workspace.
template <class T>
class Plan {
 public:
  Plan(Workload& load, DeviceBuffers& buffers)
      : shape_{load.shape()},
        float_workspace_{buffers.allocate(kFloatBytes)},
        int_workspace_{buffers.allocate(kIntBytes)},
        host_workspace_(kIntBytes) {
    const View view = load.cache().view(0, 0);  // all layers have the same layout, dense over heads
    const int64_t slot = view.keys.stride[1];
    const int64_t page = kPageSize * slot;
    const auto pages = shape_.capacity / kPageSize;
    std::vector<int32_t> indices;
    for (int32_t sequence = 0; sequence < shape_.num_sequences; ++sequence) {
      for (int32_t i = 0; i < pages; ++i) {
        indices.push_back(static_cast<int32_t>(sequence * view.keys.stride[0] / page) + i);
      }
      page_offsets_.push_back((sequence + 1) * pages);
      query_offsets_.push_back(sequence + 1);
    }
    const std::vector<int32_t> last_lengths(static_cast<std::size_t>(shape_.num_sequences), kPageSize);
    const std::array<int64_t, 3> strides = {page, shape_.capacity * slot, slot};
    int32_t* const indices_on_device = place(buffers, indices);
    int32_t* const offsets_on_device = place(buffers, page_offsets_);
    int32_t* const lengths_on_device = place(buffers, last_lengths);
    for (int32_t layer = 0; layer < shape_.num_layers; ++layer) {
      const View at = load.cache().view(layer, 0);
      layers_.emplace_back(static_cast<uint32_t>(shape_.num_kv_heads), kPageSize, kHeadDim,
                           static_cast<uint32_t>(shape_.num_sequences), fi::QKVLayout::kHND,
                           static_cast<T*>(at.keys.data), static_cast<T*>(at.values.data), strides.data(),
                           indices_on_device, offsets_on_device, lengths_on_device);
    }
    int capability = 0;
    check(cudaDeviceGetAttribute(&capability, cudaDevAttrComputeCapabilityMajor, 0));
    overlaps_launches_ = capability >= 9;
  }

 protected:
  [[nodiscard]] uint32_t num_qo_heads() const { return static_cast<uint32_t>(shape_.num_kv_heads * shape_.group_size); }

  [[nodiscard]] const fi::paged_kv_t<T, int32_t>& pages(const DecodeArgs& step) const {
    return layers_[static_cast<std::size_t>(step.layer)];
  }

  /// Sets the fields that the parameters of both paths share.
  template <class Params>
  [[nodiscard]] Params params() const {
    Params params;
    params.paged_kv = layers_.front();
    params.num_qo_heads = num_qo_heads();
    params.q_stride_n = static_cast<int32_t>(num_qo_heads() * kHeadDim);
    params.q_stride_h = kHeadDim;
    params.window_left = -1;
    params.sm_scale = 1.0F / std::sqrt(static_cast<float>(kHeadDim));
    params.rope_rcp_scale = 1.0F;
    params.rope_rcp_theta = 1.0F;
    return params;
  }

  Shape shape_;
  void* float_workspace_;
  void* int_workspace_;
  std::vector<std::byte> host_workspace_;
  std::vector<int32_t> page_offsets_{0}, query_offsets_{0};
  std::vector<fi::paged_kv_t<T, int32_t>> layers_;
  bool overlaps_launches_ = false;
};

template <class T>
class CudaCores : Plan<T> {
  using Params = fi::BatchDecodeParams<T, T, T, int32_t>;

 public:
  CudaCores(Workload& load, DeviceBuffers& buffers, cudaStream_t stream)
      : Plan<T>{load, buffers}, params_{this->template params<Params>()} {
    fi::DecodePlanInfo plan;
    DISPATCH_GQA_GROUP_SIZE(this->shape_.group_size, GROUP_SIZE, {
      check(fi::DecodePlan<kHeadDim, kNoRotation, Attention, Params>(
          this->float_workspace_, kFloatBytes, this->int_workspace_, this->host_workspace_.data(), kIntBytes, plan,
          this->page_offsets_.data(), static_cast<uint32_t>(this->shape_.num_sequences), this->num_qo_heads(),
          kPageSize, false, stream,
          fi::BatchDecodeWithPagedKVCacheWorkEstimationDispatched<GROUP_SIZE, kHeadDim, kNoRotation, Attention,
                                                                  Params>));
    });
    check(cudaStreamSynchronize(stream));
    params_.padded_batch_size = static_cast<uint32_t>(plan.padded_batch_size);
    params_.request_indices = at<int32_t>(this->int_workspace_, plan.request_indices_offset);
    params_.kv_tile_indices = at<int32_t>(this->int_workspace_, plan.kv_tile_indices_offset);
    params_.o_indptr = at<int32_t>(this->int_workspace_, plan.o_indptr_offset);
    params_.kv_chunk_size_ptr = at<int32_t>(this->int_workspace_, plan.kv_chunk_size_ptr_offset);
    if (plan.split_kv) {
      partial_outputs_ = at<T>(this->float_workspace_, plan.v_offset);
      partial_lse_ = at<float>(this->float_workspace_, plan.s_offset);
    }
  }

  void operator()(const DecodeArgs& step, cudaStream_t stream) {
    params_.q = static_cast<T*>(step.q.data);
    params_.o = static_cast<T*>(step.out.data);
    params_.paged_kv = this->pages(step);
    check(fi::BatchDecodeWithPagedKVCacheDispatched<kHeadDim, kNoRotation, Attention, Params>(
        params_, partial_outputs_, partial_lse_, this->overlaps_launches_, stream));
  }

 private:
  Params params_;
  T* partial_outputs_ = nullptr;
  float* partial_lse_ = nullptr;
};

/// Releases differ in one argument, `uniform_q_len`, which matters only with their graphs.
template <class... Arguments>
auto plan_prefill(cudaStream_t stream, Arguments... arguments)
    -> decltype(fi::PrefillPlan<int32_t>(arguments..., stream)) {
  return fi::PrefillPlan<int32_t>(arguments..., stream);
}
template <class... Arguments>
auto plan_prefill(cudaStream_t stream, Arguments... arguments)
    -> decltype(fi::PrefillPlan<int32_t>(arguments..., int64_t{0}, stream)) {
  return fi::PrefillPlan<int32_t>(arguments..., int64_t{0}, stream);
}

template <class T>
class TensorCores : Plan<T> {
  using Params = fi::BatchPrefillPagedParams<T, T, T, int32_t>;

 public:
  TensorCores(Workload& load, DeviceBuffers& buffers, cudaStream_t stream)
      : Plan<T>{load, buffers}, params_{this->template params<Params>()} {
    const auto rows = static_cast<uint32_t>(this->shape_.num_sequences);
    fi::PrefillPlanInfo plan;
    check(plan_prefill(stream, this->float_workspace_, kFloatBytes, this->int_workspace_, this->host_workspace_.data(),
                       kIntBytes, std::ref(plan), this->query_offsets_.data(), this->page_offsets_.data(), rows, rows,
                       this->num_qo_heads(), static_cast<uint32_t>(this->shape_.num_kv_heads), kHeadDim, kHeadDim,
                       kPageSize, /*enable_cuda_graph=*/false, static_cast<uint32_t>(sizeof(T)), /*window_left=*/-1,
                       /*fixed_split_size=*/-1, /*disable_split_kv=*/false, /*num_colocated_ctas=*/0));
    check(cudaStreamSynchronize(stream));
    if (plan.cta_tile_q != kQueryTile) throw std::runtime_error{"FlashInfer's plan has another tile than expected"};
    params_.group_size = fi::uint_fastdiv(static_cast<uint32_t>(this->shape_.group_size));
    params_.q_indptr = place(buffers, this->query_offsets_);
    params_.padded_batch_size = static_cast<uint32_t>(plan.padded_batch_size);
    params_.max_total_num_rows = static_cast<uint32_t>(plan.total_num_rows);
    params_.request_indices = at<int32_t>(this->int_workspace_, plan.request_indices_offset);
    params_.qo_tile_indices = at<int32_t>(this->int_workspace_, plan.qo_tile_indices_offset);
    params_.kv_tile_indices = at<int32_t>(this->int_workspace_, plan.kv_tile_indices_offset);
    params_.o_indptr = at<int32_t>(this->int_workspace_, plan.o_indptr_offset);
    params_.kv_chunk_size_ptr = at<int32_t>(this->int_workspace_, plan.kv_chunk_size_ptr_offset);
    if (plan.split_kv) {
      params_.merge_indptr = at<int32_t>(this->int_workspace_, plan.merge_indptr_offset);
      partial_outputs_ = at<T>(this->float_workspace_, plan.v_offset);
      partial_lse_ = at<float>(this->float_workspace_, plan.s_offset);
    }
  }

  void operator()(const DecodeArgs& step, cudaStream_t stream) {
    params_.q = static_cast<T*>(step.q.data);
    params_.o = static_cast<T*>(step.out.data);
    params_.paged_kv = this->pages(step);
    check(fi::BatchPrefillWithPagedKVCacheDispatched<kQueryTile, kHeadDim, kHeadDim, kNoRotation, false,
                                                     fi::MaskMode::kNone, Attention, Params>(
        params_, partial_outputs_, partial_lse_, this->overlaps_launches_, stream));
  }

 private:
  Params params_;
  T* partial_outputs_ = nullptr;
  float* partial_lse_ = nullptr;
};

template <class T>
Attend plan(Workload& load, FlashInferPath path, DeviceBuffers& buffers, cudaStream_t stream) {
  if (path == FlashInferPath::tensor_cores) return TensorCores<T>{load, buffers, stream};
  return CudaCores<T>{load, buffers, stream};
}

}  // namespace

Attend plan_flash_infer(Workload& load, FlashInferPath path, DeviceBuffers& buffers, cudaStream_t stream) {
  const Shape& shape = load.shape();
  if (shape.layout != Layout::head_major || shape.head_dim != kHeadDim || shape.capacity % kPageSize != 0) {
    throw std::invalid_argument{"FlashInfer is set up for head-major caches of head size 128 and pages of 16 slots"};
  }
  if (shape.dtype == DType::bfloat16) return plan<__nv_bfloat16>(load, path, buffers, stream);
  if (shape.dtype == DType::float16) return plan<__half>(load, path, buffers, stream);
  throw std::invalid_argument{"FlashInfer takes 16-bit elements"};
}

std::vector<float> written_by(const std::function<void()>& call, const Tensor& out) {
  std::vector<uint16_t> bits(static_cast<std::size_t>(out.shape[0] * out.shape[1] * out.shape[2]));
  const std::size_t bytes = bits.size() * sizeof(uint16_t);
  check(cudaMemset(out.data, 0xFF, bytes));
  check(cudaDeviceSynchronize());
  call();
  check(cudaDeviceSynchronize());
  check(cudaMemcpy(bits.data(), out.data, bytes, cudaMemcpyDeviceToHost));
  std::vector<float> values;
  for (const uint16_t x : bits) {
    values.push_back(static_cast<DType>(out.dtype) == DType::float16 ? __half2float(__ushort_as_half(x))
                                                                     : __bfloat162float(__ushort_as_bfloat16(x)));
  }
  return values;
}

}  // namespace hashevict::bench
