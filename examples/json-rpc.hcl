# A shop's JSON-RPC service, with every block that an integration of this type can have.
#
#   nemo-bridge check examples/json-rpc.hcl
#   API_TOKEN=… nemo-bridge run examples/json-rpc.hcl --var api_url=https://shop.example
#
# Everything has a safe default. Most files need only `type`, `endpoint` and a route. The blocks of the sidecar itself are
# in bridge.hcl.

variable "api_url" {
  default = "http://127.0.0.1:8080" # override it with --var api_url=…
}

variable "api_token" {
  env     = "API_TOKEN" # from the environment, so that it is in no file
  default = "not-set"
}

integration "shop" {
  type = "json-rpc"

  endpoint {
    url = "${var.api_url}/rpc"
  }

  auth {
    type  = "bearer" # none, basic (username, password), bearer (token), certificate (cert, key)
    token = var.api_token
  }

  config {
    # Methods that may be repeated even if the first call may have been executed. Other methods are repeated only if
    # certainly nothing was sent.
    idempotent    = ["orders.get", "orders.create"]
    health_method = "count"         # default: any HTTP answer but 401 counts as healthy
    batch         = true            # calls that wait at the same time are sent as one JSON array
    max_response  = "1MiB"          # after decompression
    allow_headers = ["X-Tenant"]    # event headers that become HTTP headers
  }

  resilience {
    timeout = "2s" # for one attempt; a caller's timeout_ms limits all attempts together

    retry {
      max_attempts  = 3
      backoff       = "exponential" # or "linear", "constant"
      initial_delay = "100ms"
      max_delay     = "5s"
    }

    circuit_breaker {
      failure_threshold = 5     # consecutive failures open it
      timeout           = "10s" # after this time, one call at a time may test the remote
      success_threshold = 2     # this many successful tests close it
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

# order.created → orders.create; the result is published as order.confirmed.
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

# Each event whose type begins with audit. becomes one call, with the event's type as an argument.
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

# nemo-bridge test examples/json-rpc.hcl
test "an order is confirmed" {
  remote "shop" {
    answers = [{ error = "connection_lost" }, { result = { number = 1 } }] # in order; the last one repeats
  }

  step {
    emit    = "order.created"
    payload = { id = 7, total = 3 }
  }

  expect {
    call   = "shop"
    by     = "1s"
    method = "orders.create"
    params = { id = 7, cents = 300 }
    times  = 2
  }
  expect {
    event   = "order.confirmed"
    by      = "2s"
    payload = { number = 1 }
  }
}
