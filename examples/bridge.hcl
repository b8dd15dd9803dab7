# The blocks of the sidecar itself. All are optional; a configuration has each of them at most once.
#
#   nemo-bridge run examples/bridge.hcl examples/json-rpc.hcl

bridge {
  name          = "shop"            # events of this sidecar have the source "bridge/shop"
  heartbeat     = "5s"              # how often health is published
  drain_timeout = "10s"             # how long operations in flight may take when it stops
  stop_with     = "system.shutdown" # drain and stop when this event comes; null: never
  status        = "127.0.0.1:9464"  # console, /livez, /readyz, /metrics; null: none

  outbox {                          # what routes with `delivery = "at_least_once"` keep on disk
    max_bytes = "256MiB"            # events and dead letters; when it is full, new events are refused as `overloaded`
    max_age   = "12h"               # an event that is older becomes a dead letter
  }
}

log {
  level  = "info"
  format = "console"                # or "json"
}

# The sidecar hosts the bus, at sockets that only this user can open. To join one that another process hosts:
# mode = "connect". A bus beyond one machine needs keys: see closed-bus/README.md.
bus {
  mode        = "host"
  max_message = "1MiB"
}
