"""The public Python interface: `strongroom.open` and `strongroom.Client`."""
