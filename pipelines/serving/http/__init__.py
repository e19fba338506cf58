"""The HTTP protocols and pages of the model server."""
