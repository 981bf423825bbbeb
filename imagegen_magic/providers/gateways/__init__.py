"""One file a gateway, and nothing else: a file here is a gateway of its name. What gateways share belongs one folder up."""
