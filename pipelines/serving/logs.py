"""The server's log: one JSON object a line, on the error stream."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

LOGGER = logging.getLogger("pipelines.serving")


class _AsJson(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": time, "level": record.levelname.lower(), "event": record.getMessage()}
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure_logs() -> None:
    """Send the server's own lines, and what its libraries warn of, to the error stream."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_AsJson())
    LOGGER.handlers, LOGGER.propagate = [handler], False
    LOGGER.setLevel(logging.INFO)
    for name in ("uvicorn", "uvicorn.error", "grpc", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.WARNING)


def log(event: str, level: int = logging.INFO, exc_info: bool = False, **fields: Any) -> None:
    """Write one line."""
    LOGGER.log(level, event, extra={"fields": fields}, exc_info=exc_info)
