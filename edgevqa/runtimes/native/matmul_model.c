/* A message of protocol buffers is a list of fields: number and kind, then a number, or a length and as many bytes. */
#include "matmul_model.h"

#include <string.h>

enum { NUMBER = 0, BYTES = 2, FLOAT32 = 1, IR_VERSION = 8, OPSET = 13 };

struct Message {
  unsigned char bytes[MATMUL_MODEL_BYTES];
  size_t length;
};

static void put_varint(struct Message *out, unsigned value) {
  for (; value >= 0x80; value >>= 7) out->bytes[out->length++] = (unsigned char)(value | 0x80);
  out->bytes[out->length++] = (unsigned char)value;
}

static void put_number(struct Message *out, unsigned field, unsigned value) {
  put_varint(out, field << 3 | NUMBER);
  put_varint(out, value);
}

static void put_bytes(struct Message *out, unsigned field, const void *bytes, size_t length) {
  put_varint(out, field << 3 | BYTES);
  put_varint(out, (unsigned)length);
  memcpy(out->bytes + out->length, bytes, length);
  out->length += length;
}

static void put_text(struct Message *out, unsigned field, const char *text) {
  put_bytes(out, field, text, strlen(text));
}

static void put_message(struct Message *out, unsigned field, const struct Message *inner) {
  put_bytes(out, field, inner->bytes, inner->length);
}

/* ValueInfoProto: name 1, type 2 (tensor_type 1 (elem_type 1, shape 2 (dim 1 (dim_value 1)...))). */
static void put_matrix(struct Message *graph, unsigned field, const char *name, unsigned size) {
  struct Message axis = {0}, shape = {0}, tensor = {0}, type = {0}, value = {0};
  put_number(&axis, 1, size);
  put_message(&shape, 1, &axis);
  put_message(&shape, 1, &axis);
  put_number(&tensor, 1, FLOAT32);
  put_message(&tensor, 2, &shape);
  put_message(&type, 1, &tensor);
  put_text(&value, 1, name);
  put_message(&value, 2, &type);
  put_message(graph, field, &value);
}

size_t make_matmul_model(unsigned size, unsigned char model[MATMUL_MODEL_BYTES]) {
  struct Message node = {0}, graph = {0}, opset = {0}, out = {0};
  put_text(&node, 1, "a"); /* NodeProto: input 1, output 2, op_type 4 */
  put_text(&node, 1, "b");
  put_text(&node, 2, "logits");
  put_text(&node, 4, "MatMul");
  put_message(&graph, 1, &node); /* GraphProto: node 1, name 2, input 11, output 12 */
  put_text(&graph, 2, "peak");
  put_matrix(&graph, 11, "a", size);
  put_matrix(&graph, 11, "b", size);
  put_matrix(&graph, 12, "logits", size);
  put_number(&opset, 2, OPSET);    /* OperatorSetIdProto: version 2 */
  put_number(&out, 1, IR_VERSION); /* ModelProto: ir_version 1, graph 7, opset_import 8 */
  put_message(&out, 7, &graph);
  put_message(&out, 8, &opset);
  memcpy(model, out.bytes, out.length);
  return out.length;
}
