"""The variables that a training step changes."""

import keras


def grouped_variables(model: keras.Model) -> list[list[keras.Variable]]:
    """Return those of a compiled model, of its optimizer and of its metrics, as the step of Keras on JAX takes them."""
    others = model.optimizer.variables, model.metrics_variables
    return [model.trainable_variables, model.non_trainable_variables, *others]
