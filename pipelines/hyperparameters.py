"""Types of hyperparameters shared by several models, each with its range and description."""

from typing import Annotated, Literal

from pydantic import Field

Units = Annotated[
    list[Annotated[int, Field(ge=1)]],
    Field(min_length=1, description="number of units in each hidden layer, from first to last"),
]
Activation = Annotated[
    Literal["relu", "tanh", "sigmoid", "gelu"], Field(description="activation function after each hidden layer")
]
Dropout = Annotated[
    float,
    Field(ge=0, lt=1, description="dropout rate: share of units zeroed at each training step (Srivastava et al. 2014)"),
]
L2 = Annotated[float, Field(ge=0, description="L2 regularization factor of the kernels in the loss")]
BatchNormalization = Annotated[
    bool, Field(description="use batch normalization in each hidden layer (Ioffe & Szegedy 2015)")
]
LinearSkip = Annotated[
    bool, Field(description="add a linear model of the same inputs, initialized to zero (Cheng et al. 2016)")
]
Initializer = Annotated[
    Literal["he_normal", "glorot_uniform", "small_random", "zeros"],
    Field(
        description="kernel initializer: he_normal suits relu, glorot_uniform suits tanh and sigmoid; small_random is"
        " a normal distribution with standard deviation 0.01; zeros keeps all units of a layer equal, so a network"
        " with hidden layers cannot learn"
    ),
]
