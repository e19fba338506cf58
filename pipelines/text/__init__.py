"""Text input and output: tokenizers, sampling, beam search and attention maps."""
