"""How Firedrill is shipped: the image's contents, the compose parts, the cluster manifests."""
