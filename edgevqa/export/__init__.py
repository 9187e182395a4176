"""Export: slice, ONNX and TFLite files, quantization, and the manifest that says what a file is."""
