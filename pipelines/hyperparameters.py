"""Types of hyperparameters shared by several models, each with its range and description."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict  # pydantic supports the standard one only from Python 3.12 on

ActivationName = Literal["relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid", "linear"]

Units = Annotated[
    list[Annotated[int, Field(ge=1)]],
    Field(min_length=1, description="number of units in each hidden layer, from first to last"),
]
Activation = Annotated[
    ActivationName,
    Field(description="activation function after each hidden layer; linear: none, so the layers only make linear maps"),
]
CellActivation = Annotated[
    ActivationName,
    Field(description="activation function of the new values in a recurrent cell; its gates always use sigmoid"),
]
Dropout = Annotated[
    float,
    Field(
        ge=0, lt=1, description="dropout rate: fraction of units zeroed at each training step (Srivastava et al. 2014)"
    ),
]
L2 = Annotated[float, Field(ge=0, description="L2 regularization factor of the kernels in the loss")]
BatchNormalization = Annotated[
    bool, Field(description="use batch normalization in each hidden layer (Ioffe & Szegedy 2015)")
]
LinearSkip = Annotated[
    bool, Field(description="add a linear model of the same inputs, initialized to zero (Cheng et al. 2016)")
]


@with_config(ConfigDict(extra="forbid", strict=True))
class RandomNormal(TypedDict):
    """A normal distribution with mean 0."""

    name: Literal["random_normal"]
    stddev: Annotated[float, Field(gt=0, description="standard deviation")]


Initializer = Annotated[
    Literal[
        "auto",
        "he_normal",
        "he_uniform",
        "glorot_normal",
        "glorot_uniform",
        "lecun_normal",
        "lecun_uniform",
        "orthogonal",
        "small_random",
        "zeros",
    ]
    | RandomNormal,
    Field(
        description="initializer of the kernels, but not of embeddings: auto, the paper's initialization;"
        " he_normal suits relu, glorot_uniform suits tanh and sigmoid; {name: random_normal, stddev: 0.05} is a normal"
        " distribution, small_random the same with 0.01; zeros keeps all units of a layer equal, so a network with"
        " hidden layers cannot learn"
    ),
]
