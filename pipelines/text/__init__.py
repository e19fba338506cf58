"""Text input and output: tokenizers, sampling, beam search and attention maps."""

SPLIT_UNKNOWN, LINE_END = "<unk>", "\n"  # tokens of texts that were split before
