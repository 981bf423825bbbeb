"""The gateways in a box: an ASGI app that speaks every dialect."""
