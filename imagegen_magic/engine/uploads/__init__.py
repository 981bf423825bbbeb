"""Images of this machine on their way to a gateway: which routes are open, and the uploads themselves."""
