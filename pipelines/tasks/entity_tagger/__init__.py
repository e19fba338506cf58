"""Entity tagger: find people, places and other named entities in a text."""
