"""How fast and how heavy the library is, as ratios within one run. ``python -m benchmarks`` runs them all."""
