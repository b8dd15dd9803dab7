# Nemo: the bridge beside a Nemo application that has the plugin nemo-bridge.
#
# Try it without the service, each command in a terminal of its own:
#
#   nemo-bridge mock bridge.hcl
#   nemo-bridge run bridge.hcl
#   nemo --app-config app.nemo --extension-dirs .
#
# A handler of the application calls  bridge_call("shop", "orders.create", #{ id: 7 }, "orders.placed")
# and a label shows the answer:       bind-text="data.orders.placed.result.number"
# A light shows the shop's health:    n:if="data.bridge.health.shop.status == 'connected'"

bridge {
  stop_with = "system.shutdown" # the bridge stops with the application
}

variable "shop_url" {
  env     = "SHOP_URL"
  default = "http://127.0.0.1:8080"
}

integration "shop" {
  type = "json-rpc"

  endpoint {
    url = "${var.shop_url}/rpc"
  }

  config {
    idempotent = ["orders.create"] # the shop knows an order by its id, so it may be sent again
  }

  resilience {
    timeout = "2s"

    retry {
      max_attempts  = 3
      initial_delay = "200ms"
    }
  }

  health {
    interval = "2s" # a light in the application follows within this time
    timeout  = "1s"
  }
}

# An event of the application becomes a call, and its result an event: data.bridge.order.confirmed.
route "wishes" {
  on          = ["order.wished"]
  integration = "shop"
  operation   = "request"
  method      = "orders.create"
  params      = event.payload
  emit        = "order.confirmed"
}

# Fixed values, which the application finds at data.bridge.data.limits however late it joins.
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

# Tests, which need no service, no bus and no application: nemo-bridge test bridge.hcl
test "a wish becomes an order" {
  remote "shop" { # stands in for the service
    answers = [{ result = { number = 1 } }]
  }

  step {
    emit    = "order.wished"
    payload = { id = 7 }
  }

  expect {
    call   = "shop"
    method = "orders.create"
    params = { id = 7 }
    times  = 1
  }
  expect {
    event   = "order.confirmed"
    payload = { number = 1 }
  }
}

test "the application finds the limits" {
  expect {
    event   = "data.limits"
    payload = { message = { orders = 20 } }
  }
}
