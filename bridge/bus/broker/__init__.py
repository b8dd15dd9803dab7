"""The XSUB/XPUB broker that the sidecar hosts, and what guards it."""
