"""Forces with memory: a hidden state whose rate equation is discovered."""
