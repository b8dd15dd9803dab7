# Orders through a Redis stream in both directions, and a channel of prices.
#
#   REDIS_PASSWORD=… nemo-bridge run examples/redis.hcl

integration "store" {
  type = "redis"

  endpoint {
    url = "redis://127.0.0.1:6379/0" # rediss://… with TLS; the path is the number of the database
  }

  auth {
    type     = "basic" # without a username: the server's one password
    username = "shop"
    password = "${env.REDIS_PASSWORD}"
  }

  config {
    # cluster  = true     # the endpoint is a node of a cluster; or a list of more nodes, as ["cache-2:6379"]
    # sentinel = "mymaster" # the endpoint is a Sentinel, which knows where that master is
    group          = "shop"
    max_length     = 100000 # entries a stream keeps; what nobody has acknowledged yet is never trimmed
    claim_after    = "1m"   # what a consumer took and did not acknowledge within it is delivered again
    max_deliveries = 5      # then it goes to the stream <queue>:dead
    codec          = "json"
  }
}

# order.placed on the bus → an entry of the stream "orders"
route "orders" {
  on          = ["order.placed"]
  integration = "store"
  operation   = "enqueue"
  queue       = "orders"
  message     = event.payload
}

# entries of the stream "shipments" → events; each is acknowledged when it is on the bus
subscription "shipments" {
  integration = "store"
  queue       = "shipments"
  emit        = "order.shipped"
}

# all channels that match → events; at most once, as Pub/Sub is
subscription "prices" {
  integration = "store"
  topic       = "prices.*"
  emit        = "data.${message.topic}"
}
