"""A whole small world on one machine: for `vedette demo`, for the tests of the whole way, and for the benchmarks."""
