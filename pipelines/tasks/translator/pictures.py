"""What a report shows of a translator."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pipelines.tasks.translator.preprocessing import PairPreprocessor
from pipelines.tasks.translator.translation import Translator


def draw_pictures(
    model: Translator, preprocessor: PairPreprocessor, examples: pd.DataFrame, answers: Mapping[str, np.ndarray]
) -> dict[str, Figure | str]:
    """Draw the pictures of a split that was translated."""
    return {}
