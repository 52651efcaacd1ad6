"""A real small platform on loopback, to break and to learn on; everything in a folder of its own."""
