"""Read tagged sentences in the formats that annotation tools write."""
