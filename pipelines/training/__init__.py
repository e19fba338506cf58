"""Train a model by Keras's own `fit`: optimizers, execution, progress, pretrained weights."""
