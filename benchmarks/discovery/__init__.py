"""What `SMNNDiscoverer` finds: structure, coefficients, simulations, time; peers beside."""
