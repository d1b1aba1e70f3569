"""Sweeps written once over scalars, traced to straight-line code, one SIMD lane per problem."""
