/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file status.h
 * The status of a call and its message. The rules for every function are at the top of hashevict.h.
 */
#ifndef HASHEVICT_STATUS_H
#define HASHEVICT_STATUS_H

#include "hashevict/version.h"

#ifdef __cplusplus
extern "C" {
#endif

/** The status of a call. */
typedef enum hashevict_status {
  HASHEVICT_OK = 0,
  HASHEVICT_INVALID_ARGUMENT = 1, /**< an argument is out of its range, or arguments contradict each other */
  HASHEVICT_INVALID_STATE = 2,    /**< the arguments are valid, but not in the cache's present state */
  HASHEVICT_UNSUPPORTED = 3,      /**< this build, backend or device cannot do it; see hashevict_get_capabilities() */
  HASHEVICT_OUT_OF_MEMORY = 4,    /**< the system gave no memory, or not the threads asked for */
  HASHEVICT_INVALID_DATA = 5,     /**< bytes given to hashevict_load() are not a state of this cache */
  HASHEVICT_BACKEND_ERROR = 6,    /**< the device's runtime reported an error */
  HASHEVICT_INTERNAL = 7          /**< a defect of this library; please report it */
} hashevict_status;

/** Size of hashevict_error::message, terminating zero included. */
#define HASHEVICT_MESSAGE_BYTES 512

/** Receives the one-line message of a failing call. Owned by the caller; a call that succeeds leaves it unchanged. */
typedef struct hashevict_error {
  char message[HASHEVICT_MESSAGE_BYTES];
} hashevict_error;

/** Short constant name of a status, such as `"invalid_argument"`. Never NULL. */
HASHEVICT_API const char* hashevict_status_name(hashevict_status status);

#ifdef __cplusplus
}
#endif

#endif /* HASHEVICT_STATUS_H */
