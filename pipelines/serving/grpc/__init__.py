"""The server's protocols over gRPC."""
