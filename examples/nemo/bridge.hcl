# The bridge beside the Nemo application of this folder. docs/nemo.md explains both.
#
# Start a stand-in for the service:  nemo-bridge mock examples/nemo/bridge.hcl
# Then the bridge:                   nemo-bridge run examples/nemo/bridge.hcl

variable "shop" {
  default = "http://127.0.0.1:8700/rpc"   # another one: --var shop=http://…
}

integration "shop" {
  type = "json-rpc"

  endpoint {
    url = var.shop
  }

  config {
    idempotent = ["orders.create"]        # the shop recognises an order by its id, so it may be sent again
  }

  resilience {
    timeout = "2s"

    retry {
      max_attempts  = 3
      initial_delay = "200ms"
    }
  }

  health {
    interval = "1s"
    timeout  = "1s"
  }
}

# An event of the application becomes a call, and its result an event.
route "wishes" {
  on          = ["order.wished"]
  integration = "shop"
  operation   = "request"
  method      = "orders.create"
  params      = {
    id    = event.payload.id
    total = event.payload.total
  }
  emit        = "order.confirmed"
}

# Fixed values. The bridge says them to everybody who joins the bus, however late.
integration "settings" {
  type = "static"

  config {
    values = {
      limits = {
        orders = 20
      }
    }
  }
}

subscription "limits" {
  integration = "settings"
  topic       = "limits"
  emit        = "data.limits"
}

# nemo-bridge test examples/nemo/bridge.hcl
test "a wish becomes an order" {
  remote "shop" {
    answers = [{ result = { number = 1 } }]
  }

  step {
    emit    = "order.wished"
    payload = { id = 7, total = 3 }
  }

  expect {
    call   = "shop"
    method = "orders.create"
    params = { id = 7, total = 3 }
    times  = 1
  }
  expect {
    event   = "order.confirmed"
    payload = { number = 1 }
  }
}
