"""The laboratory: a real container engine, containers and networks on it, and a DNS upstream one can program.

Used by the engine tests, the demo and the benchmarks. Nothing here is part of the product.
"""
