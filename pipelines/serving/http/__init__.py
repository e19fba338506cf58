"""The server's protocols and pages over HTTP."""
