"""Entity tagger: the names of people, places and whatever else a text mentions."""
