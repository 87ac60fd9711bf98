"""The demonstration's Python side: seeding, the ChatGPT-like client, and the processes of one local deployment.

`ops/run`, `ops/demo/connect` and `Tests/Clients` share it, so what a newcomer sees is what the tests check.
"""
