"""The page at `/`."""

from fastapi import FastAPI

from pipelines.serving.service import Service


def add_playground(app: FastAPI, service: Service) -> None:
    """Add it."""
