"""Text in and out of models: tokenizers, sampling, beam search, and where attention looks."""
