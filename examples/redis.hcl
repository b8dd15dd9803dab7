# Orders through a Redis stream in both directions, and a channel of prices.
#
#   REDIS_PASSWORD=… nemo-bridge run examples/redis.hcl

variable "redis_password" {
  env     = "REDIS_PASSWORD"
  default = "not-set"
}

integration "store" {
  type = "redis"

  endpoint {
    url = "redis://127.0.0.1:6379/0" # rediss://… for TLS; the path is the database number
  }

  auth {
    type     = "basic" # leave `username` out for a server with one password only
    username = "shop"
    password = var.redis_password
  }

  config {
    # cluster  = true     # the endpoint is a node of a cluster; or a list of more nodes, as ["cache-2:6379"]
    # sentinel = "mymaster" # the endpoint is a Sentinel that knows where this master is; more in `sentinels`
    group          = "shop"
    max_length     = 100000 # entries per stream; unacknowledged entries are never trimmed
    claim_after    = "1m"   # an entry that a consumer has not acknowledged after this time is delivered again
    max_deliveries = 5      # then the entry goes to the stream <queue>:dead
    codec          = "json"
  }
}

# order.placed on the bus → an entry of the stream "orders"
route "order_entries" {
  on          = ["order.placed"]
  integration = "store"
  operation   = "enqueue"
  queue       = "orders"
  message     = event.payload
}

# entries of the stream "shipments" → events; each entry is acknowledged when its event is on the bus
subscription "shipments" {
  integration = "store"
  queue       = "shipments"
  emit        = "order.shipped"
}

# messages of all matching channels → events; Pub/Sub delivers at most once
subscription "price_channels" {
  integration = "store"
  topic       = "prices.*"
  emit        = "data.${message.topic}"
}

# nemo-bridge test examples/redis.hcl
test "an order becomes an entry" {
  step {
    emit    = "order.placed"
    payload = { id = 7 }
  }

  expect {
    call    = "store"
    by      = "1s"
    queue   = "orders"
    message = { id = 7 }
    times   = 1
  }
}

test "an entry becomes an event" {
  step {
    message = "shipments"
    payload = { id = 7 }
  }

  expect {
    event   = "order.shipped"
    by      = "1s"
    payload = { message = { id = 7 } }
  }
}
