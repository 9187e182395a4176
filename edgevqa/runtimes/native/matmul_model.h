/* The smallest ONNX file with a product of two square matrices, made when it is needed. */
#ifndef EDGEVQA_MATMUL_MODEL_H
#define EDGEVQA_MATMUL_MODEL_H

#include <stddef.h>

enum { MATMUL_MODEL_BYTES = 256 };

/* Writes the model `logits = a b` of float32 matrices (size, size); returns its length. */
size_t make_matmul_model(unsigned size, unsigned char model[MATMUL_MODEL_BYTES]);

#endif
