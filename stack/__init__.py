"""What starts, watches and stops the programs around a service, and the small ones among them."""
