// SPDX-License-Identifier: Apache-2.0
// Compiled by nvcc for every architecture, with warnings as errors; never linked. Every rule, and every width of code.
#include "kernels/evict.cuh"

namespace hashevict::kernels {

using core::Closest;
using core::Farthest;
using core::FarthestDecayed;
using core::Probe;

template __global__ void evict<Farthest<Probe::queries>, 8>(EvictParams);
template __global__ void evict<Farthest<Probe::queries>, 16>(EvictParams);
template __global__ void evict<Farthest<Probe::new_key>, 32>(EvictParams);
template __global__ void evict<FarthestDecayed<Probe::queries>, 128>(EvictParams);
template __global__ void evict<FarthestDecayed<Probe::new_key>, 64>(EvictParams);
template __global__ void evict<Closest<Probe::mean_key>, 32>(EvictParams);
template __global__ void evict<Closest<Probe::majority>, 128>(EvictParams);
template __global__ void evict<core::Superseded, 64>(EvictParams);
template __global__ void evict<core::Oldest, 16>(EvictParams);
template __global__ void evict<core::Random, 8>(EvictParams);
template __global__ void evict<core::LargestKey, 16>(EvictParams);

}  // namespace hashevict::kernels
