"""Tagged sentences, in the forms that annotation tools write."""
