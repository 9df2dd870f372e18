"""Runs on real data that the demo, the benchmarks and the integration tests share."""
