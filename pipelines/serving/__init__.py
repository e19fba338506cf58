"""The model server: exports answer over TensorFlow Serving's and the Open Inference protocols."""
