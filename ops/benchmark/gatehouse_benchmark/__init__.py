"""What `ops/bench` runs: a deployment of its own, the scenarios, and who used which CPU."""
