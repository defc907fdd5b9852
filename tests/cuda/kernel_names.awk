# SPDX-License-Identifier: Apache-2.0
# name_of(text): the name in kernels/budgets.txt of the kernel that a demangled text mentions. Attention has one for
# each group of shapes: on tensor cores by the largest head_dim, else by the queries that share a pass.
function name_of(text, name, shape) {
  name = substr(text, index(text, "hashevict::kernels::") + 20)
  shape = name
  sub(/[^a-z_0-9].*/, "", name)
  if (name !~ /^(attend|attend_bulk|decode|decode_cluster)$/) return name
  if (match(shape, /MmaShape<[^>]*, [0-9]+>/)) {
    shape = substr(shape, RSTART, RLENGTH - 1)
    sub(/.*, /, "", shape)
    return name "_mma_" shape
  }
  return name (shape ~ /AttendShape<[^>]*, 4>/ ? "_wide" : "_few")
}
