// SPDX-License-Identifier: Apache-2.0
// The dynamic shared memory of attention, which no report of the compiler shows.
#include <gtest/gtest.h>

#include <string>

#include "kernels/attend.cuh"
#include "kernels/attend_bulk.cuh"
#include "kernels/decode.cuh"
#include "kernels/decode_cluster.cuh"

namespace hashevict::kernels {
namespace {

constexpr int32_t kOfMultiprocessor90 = 228 * 1024;
constexpr int32_t kOfMultiprocessor80 = 164 * 1024;
constexpr int32_t kOfBlock86 = 99 * 1024;
constexpr int32_t kReserved = 1024;  // for each block, by the driver

template <class Shape>
int32_t attend_shared_bytes(int32_t head_dim) {
  return attend_bytes<Shape::kTile>(head_dim, FifoShape<Shape>::kWords);
}

TEST(SharedMemory, LeavesRoomForTheBlocksThatRegistersAreMeantFor) {
  Layer layer{};
  layer.rule.facts = core::facts_of(core::RuleKind::farthest_from_queries);
  layer.rule.hash_bits = 128;
  layer.max_capacity = 1 << 15;
  for (const DType dtype : {DType::float32, DType::float16, DType::bfloat16}) {
    for (const int32_t head_dim : {64, 128, 256}) {
      for (const int32_t group_size : {1, 2, 4, 8}) {
        SCOPED_TRACE("dtype " + std::to_string(static_cast<int>(dtype)) + ", head_dim " + std::to_string(head_dim) +
                     ", group_size " + std::to_string(group_size));
        layer.shape.head_dim = head_dim;
        layer.shape.group_size = group_size;
        layer.shape.format = {dtype, head_dim};
        visit_shape(layer.shape, dtype, [&](auto shape) {
          using Shape = decltype(shape);
          const int32_t of_decode = Shape::kBlocks * (decode_bytes<Shape>(layer) + kReserved);
          const int32_t of_attend = Shape::kBlocks * (attend_shared_bytes<Shape>(head_dim) + kReserved);
          EXPECT_LE(decode_bytes<Shape>(layer), kOfBlock86);
          EXPECT_LE(attend_shared_bytes<Shape>(head_dim), kOfBlock86);
          EXPECT_LE(of_decode, kOfMultiprocessor90);
          EXPECT_LE(of_attend, kOfMultiprocessor90);
          const int32_t of_cluster = decode_cluster_bytes<Shape>(layer, 8) + kReserved;
          EXPECT_LE((head_dim > 128 ? 1 : 2) * of_cluster, kOfMultiprocessor90);
          if constexpr (RingShape<Shape>::kFitsTwice) {
            const int32_t of_bulk = attend_bulk_bytes<Shape>(head_dim) + kReserved;
            EXPECT_LE((Shape::kTile <= 2 && head_dim <= 128 ? 3 : 2) * of_bulk, kOfMultiprocessor90);
          }
          if (head_dim > 128 && Shape::kTile < 8) return;
          EXPECT_LE(of_decode, kOfMultiprocessor80);
          EXPECT_LE(of_attend, kOfMultiprocessor80);
        });
      }
    }
  }
}

TEST(SharedMemory, IsWhatTheKernelsCommentsSay) {
  Layer layer{};
  layer.rule.facts = core::facts_of(core::RuleKind::farthest_from_queries);
  layer.rule.hash_bits = 128;
  layer.shape.head_dim = 128;
  layer.shape.group_size = 8;
  layer.max_capacity = 1 << 15;
  EXPECT_EQ((decode_cluster_bytes<MmaShape<DType::bfloat16, 128>>(layer, 8) + 1023) / 1024, 111);
  EXPECT_EQ((decode_bytes<MmaShape<DType::bfloat16, 128>>(layer) + 1023) / 1024, 76);
  EXPECT_EQ((attend_shared_bytes<MmaShape<DType::bfloat16, 128>>(128) + 1023) / 1024, 67);
  EXPECT_EQ((attend_bulk_bytes<MmaShape<DType::bfloat16, 128>>(128) + 1023) / 1024, 97);
}

}  // namespace
}  // namespace hashevict::kernels
