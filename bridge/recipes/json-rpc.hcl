# JSON-RPC: an event becomes a call of a service, and its answer an event.
#
# Try it without the service, each command in a terminal of its own:
#
#   nemo-bridge mock shop.hcl
#   nemo-bridge run shop.hcl
#   nemo-bridge emit order.created '{"id": 7, "total": 3}' --wait

variable "shop_url" {
  env     = "SHOP_URL" # the real service: SHOP_URL=https://shop.example.com nemo-bridge run shop.hcl
  default = "http://127.0.0.1:8080"
}

integration "shop" {
  type = "json-rpc"

  endpoint {
    url = "${var.shop_url}/rpc"
  }

  # A service that wants a token; the token comes from the environment, never from this file.
  # auth {
  #   type  = "bearer"
  #   token = env.SHOP_TOKEN
  # }

  config {
    # These calls may be made again if an answer is lost, because the shop knows an order by its id. All other calls
    # are repeated only if they were certainly not made.
    idempotent = ["orders.create"]
  }

  resilience {
    timeout = "2s" # of one attempt

    retry {
      max_attempts = 3
      backoff      = "exponential"
    }

    circuit_breaker {
      failure_threshold = 5     # after so many failures, calls fail at once
      timeout           = "30s" # after this time, one call may try again
      success_threshold = 2     # so many successes, and all is as before
    }
  }
}

# order.created → orders.create; the result becomes the event order.confirmed.
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

# Tests of the route, which need no service and no bus: nemo-bridge test shop.hcl
test "an order is confirmed" {
  remote "shop" { # stands in for the service
    answers = [{ result = { number = 1 } }]
  }

  step {
    emit    = "order.created"
    payload = { id = 7, total = 3 }
  }

  expect {
    call   = "shop"
    method = "orders.create"
    params = { id = 7, cents = 300 }
    times  = 1
  }
  expect {
    event   = "order.confirmed"
    payload = { number = 1 } # what is named must be equal; more may be there
  }
}

test "a lost answer is asked for again" {
  remote "shop" {
    answers = [{ error = "timeout" }, { result = { number = 1 } }] # in order; the last one repeats
  }

  step {
    emit    = "order.created"
    payload = { id = 7, total = 3 }
  }

  expect {
    call  = "shop"
    times = 2
  }
  expect {
    event = "order.confirmed"
    by    = "5s"
  }
}
