"""Train a model with Keras `fit`: optimizers, execution, progress and pretrained weights."""
