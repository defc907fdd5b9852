// SPDX-License-Identifier: Apache-2.0
#include "cache.hpp"
#include "values.hpp"

namespace hashevict::python {

using namespace nb::literals;

namespace {

Batch to_batch(Arguments& arguments, nb::handle row_to_sequence, nb::handle cu_seqlens) {
  return {arguments.read("row_to_sequence", row_to_sequence), arguments.read("cu_seqlens", cu_seqlens)};
}

Softmax to_softmax(double scale, double logit_soft_cap) {
  Softmax softmax;
  softmax.scale = static_cast<float>(scale);
  softmax.logit_soft_cap = static_cast<float>(logit_soft_cap);
  return softmax;
}

/// The arguments that prefill, evict, append and decode have in common.
template <class Args>
void fill_step(Args& args, Arguments& arguments, nb::handle q, nb::handle k, nb::handle slots, nb::handle victims,
               nb::handle importance, nb::handle importance_slope) {
  args.q = arguments.read("q", q);
  args.k = arguments.read("k", k);
  args.slots = arguments.write("slots", slots);
  args.victims = arguments.write("victims", victims);
  args.importance = arguments.read("importance", importance);
  args.importance_slope = arguments.read("importance_slope", importance_slope);
}

void prefill(NativeCache& self, int32_t layer, nb::handle q, nb::handle k, nb::handle v, nb::handle slots,
             nb::handle victims, nb::handle mode, int32_t window, nb::handle out, nb::handle lse, double scale,
             double logit_soft_cap, nb::handle attention, nb::handle importance, nb::handle importance_slope,
             nb::handle row_to_sequence, nb::handle cu_seqlens, nb::handle stream) {
  Arguments arguments{self.space()};
  PrefillArgs args;
  args.layer = layer;
  args.batch = to_batch(arguments, row_to_sequence, cu_seqlens);
  fill_step(args, arguments, q, k, slots, victims, importance, importance_slope);
  args.v = arguments.read("v", v);
  args.mode = to_enum<PrefillMode>("mode", mode);
  args.window = window;
  args.out = arguments.write("out", out);
  args.lse = arguments.write("lse", lse);
  args.softmax = to_softmax(scale, logit_soft_cap);
  args.attention = to_enum<PrefillAttention>("attention", attention);
  const Stream on = arguments.stream(stream);
  const nb::gil_scoped_release release;
  self.cache().prefill(args, on);
}

void evict(NativeCache& self, int32_t layer, nb::handle q, nb::handle k, nb::handle slots, nb::handle victims,
           nb::handle importance, nb::handle importance_slope, nb::handle row_to_sequence, nb::handle cu_seqlens,
           nb::handle stream) {
  Arguments arguments{self.space()};
  EvictArgs args;
  args.layer = layer;
  args.batch = to_batch(arguments, row_to_sequence, cu_seqlens);
  fill_step(args, arguments, q, k, slots, victims, importance, importance_slope);
  const Stream on = arguments.stream(stream);
  const nb::gil_scoped_release release;
  self.cache().evict(args, on);
}

void append(NativeCache& self, int32_t layer, nb::handle q, nb::handle k, nb::handle v, nb::handle slots,
            nb::handle victims, nb::handle importance, nb::handle importance_slope, nb::handle row_to_sequence,
            nb::handle cu_seqlens, nb::handle stream) {
  Arguments arguments{self.space()};
  AppendArgs args;
  args.layer = layer;
  args.batch = to_batch(arguments, row_to_sequence, cu_seqlens);
  fill_step(args, arguments, q, k, slots, victims, importance, importance_slope);
  args.v = arguments.read("v", v);
  const Stream on = arguments.stream(stream);
  const nb::gil_scoped_release release;
  self.cache().append(args, on);
}

void attend(NativeCache& self, int32_t layer, nb::handle q, nb::handle out, nb::handle lse, double scale,
            double logit_soft_cap, nb::handle queries, nb::handle row_to_sequence, nb::handle cu_seqlens,
            nb::handle stream) {
  Arguments arguments{self.space()};
  AttendArgs args;
  args.layer = layer;
  args.batch = to_batch(arguments, row_to_sequence, cu_seqlens);
  args.q = arguments.read("q", q);
  args.out = arguments.write("out", out);
  args.lse = arguments.write("lse", lse);
  args.softmax = to_softmax(scale, logit_soft_cap);
  args.queries = to_enum<AttendQueries>("queries", queries);
  const Stream on = arguments.stream(stream);
  const nb::gil_scoped_release release;
  self.cache().attend(args, on);
}

void decode(NativeCache& self, int32_t layer, nb::handle q, nb::handle k, nb::handle v, nb::handle out, nb::handle lse,
            nb::handle slots, nb::handle victims, double scale, double logit_soft_cap, nb::handle importance,
            nb::handle importance_slope, nb::handle row_to_sequence, nb::handle cu_seqlens, nb::handle stream) {
  Arguments arguments{self.space()};
  DecodeArgs args;
  args.layer = layer;
  args.batch = to_batch(arguments, row_to_sequence, cu_seqlens);
  fill_step(args, arguments, q, k, slots, victims, importance, importance_slope);
  args.v = arguments.read("v", v);
  args.out = arguments.write("out", out);
  args.lse = arguments.write("lse", lse);
  args.softmax = to_softmax(scale, logit_soft_cap);
  const Stream on = arguments.stream(stream);
  const nb::gil_scoped_release release;
  self.cache().decode(args, on);
}

void encode(NativeCache& self, int32_t layer, int32_t sequence, nb::handle as, nb::handle x, nb::handle codes,
            nb::handle stream) {
  Arguments arguments{self.space()};
  const auto heads = to_enum<EncodeAs>("as_", as);
  const Tensor vectors = arguments.read("x", x);
  const Tensor packed = arguments.write("codes", codes);
  const Stream on = arguments.stream(stream);
  const nb::gil_scoped_release release;
  self.cache().encode(layer, sequence, heads, vectors, packed, on);
}

}  // namespace

void add_operations(NativeClass& cache) {
  cache.def("prefill", prefill, "layer"_a, "q"_a.none(), "k"_a, "v"_a, "slots"_a.none(), "victims"_a.none(), "mode"_a,
            "window"_a, "out"_a.none(), "lse"_a.none(), "scale"_a, "logit_soft_cap"_a, "attention"_a,
            "importance"_a.none(), "importance_slope"_a.none(), "row_to_sequence"_a.none(), "cu_seqlens"_a.none(),
            "stream"_a.none());
  cache.def("evict", evict, "layer"_a, "q"_a.none(), "k"_a, "slots"_a.none(), "victims"_a.none(), "importance"_a.none(),
            "importance_slope"_a.none(), "row_to_sequence"_a.none(), "cu_seqlens"_a.none(), "stream"_a.none());
  cache.def("append", append, "layer"_a, "q"_a.none(), "k"_a, "v"_a, "slots"_a.none(), "victims"_a.none(),
            "importance"_a.none(), "importance_slope"_a.none(), "row_to_sequence"_a.none(), "cu_seqlens"_a.none(),
            "stream"_a.none());
  cache.def("attend", attend, "layer"_a, "q"_a, "out"_a, "lse"_a.none(), "scale"_a, "logit_soft_cap"_a, "queries"_a,
            "row_to_sequence"_a.none(), "cu_seqlens"_a.none(), "stream"_a.none());
  cache.def("decode", decode, "layer"_a, "q"_a, "k"_a, "v"_a, "out"_a, "lse"_a.none(), "slots"_a.none(),
            "victims"_a.none(), "scale"_a, "logit_soft_cap"_a, "importance"_a.none(), "importance_slope"_a.none(),
            "row_to_sequence"_a.none(), "cu_seqlens"_a.none(), "stream"_a.none());
  cache.def("encode", encode, "layer"_a, "sequence"_a, "as_"_a, "x"_a, "codes"_a, "stream"_a.none());
}

}  // namespace hashevict::python
