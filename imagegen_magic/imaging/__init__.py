"""What is done to pixels, and nothing else: bytes and Pillow pictures in, facts and small pictures out.

`decoding` turns bytes into pixels and holds the limits, `verify` says what a picture is, `preview` makes the small one.
`references` makes what people have ready for the wire, `masks` says where an edit may paint, `drift` whether it kept to that.
Safe in threads; no setting of the process's own Pillow is obeyed, changed or warned about.
"""
