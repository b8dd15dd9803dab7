# Redis Streams: events become entries of a stream, and entries of another stream become events.
#
# Needs a Redis server on this machine. Each command in a terminal of its own:
#
#   nemo-bridge run orders.hcl
#   nemo-bridge emit order.placed '{"id": 7}' --wait
#   redis-cli XADD shipments '*' data '{"id": 7}'

variable "redis_url" {
  env     = "REDIS_URL" # rediss://… for TLS
  default = "redis://127.0.0.1:6379/0"
}

integration "store" {
  type = "redis"

  endpoint {
    url = var.redis_url
  }

  # auth {
  #   type     = "basic"
  #   username = "bridge" # leave it out for a server with one password only
  #   password = env.REDIS_PASSWORD
  # }

  config {
    group          = "bridge" # bridges with the same group share the entries
    max_length     = 100000   # entries of a stream; none is removed that was not acknowledged
    claim_after    = "1m"     # an entry that a dead bridge has taken goes to another one after this time
    max_deliveries = 5        # after so many it goes to the stream shipments:dead
  }
}

# order.placed → an entry of the stream "orders". It is kept on disk here until Redis has it. The event
# receipt.store.delivered says so.
route "orders" {
  on          = ["order.placed"]
  integration = "store"
  operation   = "enqueue"
  queue       = "orders"
  message     = event.payload
  delivery    = "at_least_once"
  receipts    = true
}

# Entries of the stream "shipments" → order.shipped. An entry is acknowledged when its event is on the bus. It waits
# while no program on the bus listens to the event.
subscription "shipments" {
  integration = "store"
  queue       = "shipments"
  emit        = "order.shipped"
}

# Tests, which need no Redis and no bus: nemo-bridge test orders.hcl
test "an order waits until Redis is there" {
  step {
    remote = "store"
    down   = true
  }
  step {
    at      = "1s"
    emit    = "order.placed"
    payload = { id = 7 }
  }
  step {
    at     = "10m"
    remote = "store"
    down   = false
  }

  expect {
    event = "receipt.store.delivered"
    by    = "9m"
    times = 0
  }
  expect {
    call    = "store"
    queue   = "orders"
    message = { id = 7 }
    times   = 1
  }
  expect {
    event = "receipt.store.delivered"
    times = 1
  }
}

test "an entry becomes an event" {
  step {
    message = "shipments"
    payload = { id = 7 }
  }

  expect {
    event   = "order.shipped"
    payload = { message = { id = 7 } }
  }
}
