"""A model server for exports that speaks TensorFlow Serving's protocols and the Open Inference Protocol."""
