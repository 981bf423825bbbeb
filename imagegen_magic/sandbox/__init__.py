"""The gateways in a box: every dialect spoken on loopback, for trying without a key and for tests."""
