# A shop's JSON-RPC service, with every block that an integration of this type can have.
#
#   API_TOKEN=… nemo-bridge check examples/json-rpc.hcl
#   API_TOKEN=… nemo-bridge run examples/json-rpc.hcl --var api_url=https://shop.example
#
# What is not written has a default that protects; most files need only `type`, `endpoint` and a route.

bridge {
  name      = "shop"            # events of this sidecar have the source "bridge/shop"
  heartbeat = "5s"              # how often health is said again
  stop_with = "system.shutdown" # drain and end when the application says this
}

log {
  level  = "info"
  format = "console" # or "json"
}

# No `bus` block: the sidecar hosts the bus at the user's default sockets.

variable "api_url" {
  default = "http://127.0.0.1:8080" # another one with --var api_url=…
}

integration "shop" {
  type = "json-rpc"

  endpoint {
    url = "${var.api_url}/rpc"
  }

  auth {
    type  = "bearer" # none, basic (username, password), bearer (token), certificate (cert, key)
    token = "${env.API_TOKEN}"
  }

  config {
    # Methods that may be repeated although the first call may have got through. Others are repeated only where
    # surely nothing was sent.
    idempotent    = ["orders.get", "orders.create"]
    health_method = "count"         # without it, any HTTP answer but 401 shows a living server
    batch         = true            # calls that wait at the same moment share one array on the wire
    max_response  = "1MiB"          # after decompression
    allow_headers = ["X-Tenant"]    # event headers that become HTTP headers
  }

  resilience {
    timeout = "2s" # one attempt; a caller's timeout_ms limits all of them together

    retry {
      max_attempts  = 3
      backoff       = "exponential" # or "linear", "constant"
      initial_delay = "100ms"
      max_delay     = "5s"
    }

    circuit_breaker {
      failure_threshold = 5     # consecutive failures open it
      timeout           = "10s" # then one call at a time may probe
      success_threshold = 2     # so many good probes close it
    }

    limit {
      max_in_flight = 32
      queue         = 1000
      rate          = "200/s"
    }
  }

  health {
    interval = "10s"
    timeout  = "2s"
  }
}

# order.created → orders.create; the result comes back as order.confirmed.
route "orders" {
  on          = ["order.created"]
  where       = event.payload.total > 0
  integration = "shop"
  operation   = "request"
  method      = "orders.create"
  params = {
    id    = event.payload.id
    cents = event.payload.total * 100
  }
  emit = "order.confirmed"
}

# Anything below audit. becomes a call of its own, with the event's type as an argument.
route "audit" {
  on          = ["audit.**"]
  integration = "shop"
  operation   = "request"
  method      = "echo"
  params = {
    what = event.type
    from = event.source
    data = event.payload
  }
}
