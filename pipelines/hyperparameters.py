"""Types of hyperparameters that more than one model has, each with its range and its meaning."""

from typing import Annotated, Literal

from pydantic import Field

Units = Annotated[
    list[Annotated[int, Field(ge=1)]],
    Field(min_length=1, description="width of each hidden layer, first to last"),
]
Activation = Annotated[
    Literal["relu", "tanh", "sigmoid", "gelu"], Field(description="non-linearity after each hidden layer")
]
Dropout = Annotated[
    float, Field(ge=0, lt=1, description="share of units set to zero at each training step (Srivastava et al. 2014)")
]
L2 = Annotated[float, Field(ge=0, description="weight of the squared kernels in the loss")]
BatchNormalization = Annotated[
    bool, Field(description="normalise each hidden layer over the mini-batch (Ioffe & Szegedy 2015)")
]
LinearSkip = Annotated[
    bool, Field(description="add a linear regression on the same inputs, which starts at zero (Cheng et al. 2016)")
]
Initializer = Annotated[
    Literal["he_normal", "glorot_uniform", "small_random", "zeros"],
    Field(
        description="start of the kernels: he_normal suits relu, glorot_uniform tanh and sigmoid; small_random is a"
        " normal of 0.01; zeros leaves all units of a layer equal, so a network with hidden layers cannot learn"
    ),
]
