/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file tensor.h
 * Strided views of memory that somebody else owns.
 */
#ifndef HASHEVICT_TENSOR_H
#define HASHEVICT_TENSOR_H

#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Element types. */
typedef enum hashevict_dtype {
  HASHEVICT_FLOAT32 = 0,
  HASHEVICT_FLOAT16 = 1,
  HASHEVICT_BFLOAT16 = 2,
  HASHEVICT_INT32 = 3,
  HASHEVICT_UINT8 = 4
} hashevict_dtype;

/** Largest rank of a ::hashevict_tensor. */
#define HASHEVICT_MAX_RANK 5

/** A strided view of memory that somebody else owns. Strides count elements. `data == NULL` means "absent". */
typedef struct hashevict_tensor {
  void* data;
  int32_t dtype; /**< ::hashevict_dtype */
  int32_t rank;
  int64_t shape[HASHEVICT_MAX_RANK];
  int64_t stride[HASHEVICT_MAX_RANK];
} hashevict_tensor;

/**
 * A dense, row-major tensor: the last index is contiguous. Compiled into the caller.
 * @param data the parameter that takes the tensor says whether it is read or written
 * @param shape `[rank]`; may be NULL if rank is 0. Calls refuse a rank that they do not expect.
 */
static inline hashevict_tensor hashevict_tensor_dense(const void* data, hashevict_dtype dtype, int32_t rank,
                                                      const int64_t* shape) {
  hashevict_tensor tensor;
  uint64_t step = 1; /* unsigned: extents that overflow are the library's to refuse */
  int32_t axis;
  memset(&tensor, 0, sizeof tensor);
  memcpy(&tensor.data, &data, sizeof data); /* one tensor type serves read and written memory */
  tensor.dtype = (int32_t)dtype;
  tensor.rank = rank;
  for (axis = rank < HASHEVICT_MAX_RANK ? rank : HASHEVICT_MAX_RANK; axis-- > 0;) {
    tensor.shape[axis] = shape[axis];
    tensor.stride[axis] = (int64_t)step;
    step *= (uint64_t)shape[axis];
  }
  return tensor;
}

/** A CUDA stream (`cudaStream_t`) as an opaque pointer; NULL is the default stream. Ignored by the CPU backend. */
typedef void* hashevict_stream;

#ifdef __cplusplus
}
#endif

#endif /* HASHEVICT_TENSOR_H */
