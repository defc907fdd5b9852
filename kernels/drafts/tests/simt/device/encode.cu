// SPDX-License-Identifier: Apache-2.0
// Compiled by nvcc for every architecture, with warnings as errors; never linked.
#include "kernels/encode.cuh"

namespace hashevict::kernels {

template __global__ void encode_bulk<8>(EncodeParams);
template __global__ void encode_bulk<16>(EncodeParams);
template __global__ void encode_bulk<32>(EncodeParams);
template __global__ void encode_bulk<64>(EncodeParams);
template __global__ void encode_bulk<128>(EncodeParams);
template __global__ void encode_step<8>(EncodeParams);
template __global__ void encode_step<16>(EncodeParams);
template __global__ void encode_step<32>(EncodeParams);
template __global__ void encode_step<64>(EncodeParams);
template __global__ void encode_step<128>(EncodeParams);

}  // namespace hashevict::kernels
