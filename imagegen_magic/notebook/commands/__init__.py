"""The subcommands of `%imagegen`, one module a group. What `%%imagegen` does belongs in `magic`."""
