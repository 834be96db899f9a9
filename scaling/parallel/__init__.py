"""Where arrays live: the device mesh, the rules from logical axes to mesh axes, the shardings."""
